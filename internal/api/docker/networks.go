package docker

import (
	"slices"

	"github.com/moby/moby/api/types/network"

	"trireme/internal/kind"
)

var networkRoutes = map[string]handler{"GET /networks": listNetworks, "GET /networks/{id}": inspectNetwork}

// The networks that every cluster has. Ids are fixed: nothing of them is an object.
var networks = []network.Network{
	predefined("ingress", "overlay", "swarm"), predefined("bridge", "bridge", "local"),
	predefined("host", "host", "local"), predefined("none", "null", "local"),
}

// ingressID is the id of the network of published ports.
var ingressID = networks[0].ID

func predefined(name, driver, scope string) network.Network {
	id := "trireme0network0" + name
	for len(id) < 25 {
		id += "0"
	}
	return network.Network{
		Name: name, ID: id, Driver: driver, Scope: scope, EnableIPv4: true, Ingress: name == "ingress",
		IPAM: network.IPAM{Driver: "default"}, Options: map[string]string{}, Labels: map[string]string{},
	}
}

func listNetworks(c *call) (any, error) {
	f, err := c.filters("dangling", "driver", "id", "label", "name", "scope", "type")
	if err != nil {
		return nil, err
	}
	out := []network.Summary{}
	for _, n := range networks {
		if f.prefix("id", n.ID) && f.prefix("name", n.Name) && f.equal("driver", n.Driver) && f.equal("scope", n.Scope) && f.labels("label", n.Labels) &&
			f.equal("type", "builtin") && f.equal("dangling", "false") {
			out = append(out, network.Summary{Network: n})
		}
	}
	return out, nil
}

func inspectNetwork(c *call) (any, error) {
	ref := c.PathValue("id")
	i := slices.IndexFunc(networks, func(n network.Network) bool { return n.ID == ref || n.Name == ref })
	if i < 0 {
		return nil, kind.New(kind.NotFound, "network %s not found", ref)
	}
	return network.Inspect{Network: networks[i], Containers: map[string]network.EndpointResource{}}, nil
}
