package docker

import (
	"crypto/rand"
	"encoding/binary"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	tenant "trireme/internal/object/network"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

// Subnets of networks that ask for none: one of 4,094 addresses out of pool4, none of which
// another network has, and one out of pool6.
var (
	pool4, bits4 = netip.MustParsePrefix("10.0.0.0/10"), 20
	pool6, bits6 = netip.MustParsePrefix("fd74:7269:7266::/48"), 64
)

const encryptedOption = "encrypted"

func createNetwork(c *call) (any, error) {
	var asked network.CreateRequest
	if err := c.read(&asked); err != nil {
		return nil, err
	}
	if err := refuseNetwork(&asked); err != nil {
		return nil, err
	}
	is := ours.Network{Name: asked.Name, Driver: asked.Driver, Attachable: asked.Attachable, Labels: asked.Labels, Options: asked.Options}
	n := &tenant.Network{Spec: tenant.Spec{Internal: asked.Internal}}
	if err := c.networkOptions(&asked, n); err != nil {
		return nil, err
	}
	if err := c.subnets(&asked, n); err != nil {
		return nil, err
	}
	for _, other := range c.networks() {
		if ours.NetworkOf(other).Name == asked.Name {
			return nil, kind.New(kind.Exists, "network with name %s already exists", asked.Name)
		}
	}
	key := ours.Place(asked.Name, asked.Labels)
	if err := c.ensureNamespace(key.Namespace, asked.Labels[ours.StackLabel]); err != nil {
		return nil, err
	}
	if old, ok := tables.Network(c.snap, key); ok && old.DeletionTimestamp != nil {
		if err := c.gone(key); err != nil {
			return nil, err
		}
	}
	n.Namespace, n.Name, n.Annotations = key.Namespace, key.Name, map[string]string{ours.NetworkAnnotation: is.Annotation()}
	u, err := n.Unstructured()
	if err != nil {
		return nil, err
	}
	made, err := c.custom().Resource(tenant.Resource).Namespace(key.Namespace).Create(c.Context(), u, metav1.CreateOptions{FieldManager: "docker"})
	if err != nil {
		return nil, fromKubernetes(err)
	}
	return answer{http.StatusCreated, network.CreateResponse{ID: ours.ID(made.GetUID())}}, nil
}

// refuseNetwork refuses what no network can be here, by its field, and fills in the driver.
func refuseNetwork(asked *network.CreateRequest) error {
	if asked.Driver == "" {
		asked.Driver = "bridge"
	}
	scope := scopeLocal
	if asked.Driver == ours.OverlayDriver {
		scope = scopeSwarm
	}
	switch {
	case asked.Name == "" || len(asked.Name) > 63 || strings.ContainsAny(asked.Name, "/ "):
		return kind.New(kind.Invalid, "Name: %q: a network needs a name of 1 to 63 characters without / and blanks", asked.Name)
	case ours.Predefined(asked.Name) != "":
		return kind.New(kind.Denied, "operation is not permitted on predefined %s network", asked.Name)
	case !slices.Contains([]string{ours.OverlayDriver, "bridge"}, asked.Driver):
		return kind.New(kind.NotFound, "could not find a network driver named %q: Driver is overlay or bridge", asked.Driver)
	case asked.Scope != "" && asked.Scope != scope:
		return kind.New(kind.Invalid, "Scope: %q: networks of driver %s are of scope %s", asked.Scope, asked.Driver, scope)
	case asked.Ingress:
		return kind.New(kind.Unsupported, "Ingress: the mesh of published ports has one network, which is there: leave --ingress away")
	case asked.ConfigOnly:
		return kind.New(kind.Unsupported, "ConfigOnly: networks without pods are not kept: leave --config-only away")
	case asked.ConfigFrom != nil && asked.ConfigFrom.Network != "":
		return kind.New(kind.Unsupported, "ConfigFrom: there are no networks of configurations: give what %s says yourself", asked.ConfigFrom.Network)
	}
	return nil
}

// networkOptions takes the driver's options over.
func (c *call) networkOptions(asked *network.CreateRequest, n *tenant.Network) error {
	for name, value := range asked.Options {
		switch name {
		case mtuOption:
			mtu, err := strconv.ParseInt(value, 10, 32)
			if err != nil || mtu < 576 || mtu > 9000 {
				return kind.New(kind.Invalid, "Options[%s]: %q: it is 576 to 9000", name, value)
			}
			n.Spec.MTU = int32(mtu)
		case encryptedOption:
			if on, err := strconv.ParseBool(value); err == nil && !on {
				continue
			}
			if node := c.plain(); node != "" {
				return kind.New(kind.Invalid, "Options[%s]: node %s does not encrypt: the overlay of a cluster is encrypted as a whole, with --encrypt-overlay on its managers", name, node)
			}
		default:
			return kind.New(kind.Invalid, "Options[%s]: it cannot be kept here: the options are %s and %s", name, mtuOption, encryptedOption)
		}
	}
	return nil
}

// plain names a node that does not encrypt what leaves it for pods of others, empty: there
// is none.
func (c *call) plain() string {
	for node := range tables.Nodes.All(c.all) {
		if node.Annotations[object.OverlayKeyAnnotation] == "" {
			return node.Name
		}
	}
	return ""
}

// subnets takes the ranges over that were asked for, and chooses those that were not.
func (c *call) subnets(asked *network.CreateRequest, n *tenant.Network) error {
	four, six := asked.EnableIPv4 == nil || *asked.EnableIPv4, asked.EnableIPv6 != nil && *asked.EnableIPv6
	if ipam := asked.IPAM; ipam != nil {
		if ipam.Driver != "" && ipam.Driver != "default" || len(ipam.Options) > 0 {
			return kind.New(kind.Invalid, "IPAM.Driver: %q: addresses are given out by the cluster: leave the driver and its options away", ipam.Driver)
		}
		for i, s := range ipam.Config {
			sub, err := subnet("IPAM.Config["+strconv.Itoa(i)+"]", s)
			if err != nil {
				return err
			}
			if n.Spec.Subnets = append(n.Spec.Subnets, sub); s.Subnet.Addr().Is4() {
				four = false
			} else {
				six = false
			}
		}
	}
	if four {
		s, err := c.choose(pool4, bits4)
		if err != nil {
			return err
		}
		n.Spec.Subnets = append([]tenant.Subnet{s}, n.Spec.Subnets...)
	}
	if six {
		s, err := c.choose(pool6, bits6)
		if err != nil {
			return err
		}
		n.Spec.Subnets = append(n.Spec.Subnets, s)
	}
	if _, err := n.Pools(); err != nil {
		return kind.New(kind.Invalid, "IPAM.Config: %v", err)
	}
	return nil
}

func subnet(field string, s network.IPAMConfig) (tenant.Subnet, error) {
	switch {
	case !s.Subnet.IsValid():
		return tenant.Subnet{}, kind.New(kind.Invalid, "%s.Subnet: a gateway or a range needs the subnet that it is of: give --subnet", field)
	case len(s.AuxAddress) > 0:
		return tenant.Subnet{}, kind.New(kind.Unsupported, "%s.AuxiliaryAddresses: addresses are kept free by a range: give --ip-range", field)
	}
	out := tenant.Subnet{CIDR: s.Subnet.Masked().String()}
	if s.Gateway.IsValid() {
		out.Gateway = s.Gateway.String()
	}
	if s.IPRange.IsValid() {
		out.IPRange = s.IPRange.String()
	}
	return out, nil
}

// choose returns a part of a pool that meets no network's subnet, from a place of chance on:
// so two that are made at once hardly ever get the same.
func (c *call) choose(pool netip.Prefix, bits int) (tenant.Subnet, error) {
	var taken []netip.Prefix
	for n := range tables.Networks(c.all) {
		pools, _ := n.Pools() // what is wrong with it takes nothing
		for _, p := range pools {
			taken = append(taken, p.Prefix)
		}
	}
	parts := uint32(1) << min(bits-pool.Bits(), 16)
	start := binary.BigEndian.Uint32(random4())
	for i := range parts {
		p := part(pool, bits, (start+i)%parts)
		if !slices.ContainsFunc(taken, p.Overlaps) {
			return tenant.Subnet{CIDR: p.String()}, nil
		}
	}
	return tenant.Subnet{}, kind.New(kind.Exhausted, "all of %s is taken by networks: remove some (`docker network prune`), or give --subnet", pool)
}

func random4() []byte {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // it never fails
	return b
}

// part returns the i-th part of that length of a pool.
func part(pool netip.Prefix, bits int, i uint32) netip.Prefix {
	b := pool.Addr().AsSlice()
	for at := range 32 { // from the part's last bit up
		if bit := bits - 1 - at; bit >= pool.Bits() && i&(1<<at) != 0 {
			b[bit/8] |= 0x80 >> (bit % 8)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, bits)
}
