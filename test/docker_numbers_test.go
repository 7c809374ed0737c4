package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
)

// made sends what makes an object and returns its id; the object is removed after the test.
func (e *engine) made(noun string, body any) string {
	e.t.Helper()
	code, text := e.ask(http.MethodPost, "/"+noun+"/create", body)
	var out struct{ ID string } // of networks Id, which is taken too
	if err := json.Unmarshal([]byte(text), &out); err != nil || code != http.StatusCreated {
		e.t.Fatalf("making one of %s: %d: %s", noun, code, text)
	}
	e.t.Cleanup(func() { e.ask(http.MethodDelete, "/"+noun+"/"+out.ID, nil) })
	return out.ID
}

// log returns what a service's tasks have written.
func (e *engine) log(id string) string {
	_, text := e.ask(http.MethodGet, "/services/"+id+"/logs?stdout=1&stderr=1", nil)
	return text
}

// virtualAddresses: a service has an address on each of its networks and on the ingress
// network if it publishes a port; names lead to it, tasks.NAME to the tasks; with dnsrr
// the name leads to the tasks.
func virtualAddresses(e *engine, name string) {
	net := e.made("networks", network.CreateRequest{Name: name + "-net", Driver: "overlay"})
	on := func(spec swarm.ServiceSpec, aliases ...string) swarm.ServiceSpec {
		spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: net, Aliases: aliases}}
		return spec
	}
	spec := on(plain(name+"web", 2, resting...), name+"alias")
	spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{Protocol: "tcp", TargetPort: 80, PublishedPort: 8117}}}
	web := e.create(spec)
	e.runs(web, 2)
	round := on(plain(name+"round", 1, resting...))
	round.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeDNSRR}
	other := e.create(round)
	tasks := e.runs(other, 1)
	virtual := ""
	e.await("the service has two addresses", func() error {
		all := e.service(web).Endpoint.VirtualIPs
		for _, v := range all {
			if v.NetworkID == net {
				virtual = v.Addr.Addr().String()
			}
		}
		if len(all) != 2 || virtual == "" {
			return fmt.Errorf("%w: %v", errNotYet, all)
		}
		return nil
	})
	if all := e.service(other).Endpoint.VirtualIPs; len(all) != 0 {
		e.t.Errorf("with dnsrr there are the addresses %v", all)
	}
	asker := e.create(on(plain(name+"asker", 1, "sh", "-c", "while :; do for n in web alias round; do echo $n=$(nslookup "+name+"$n | grep ^Address | tail -n +2); done; "+
		"echo tasks=$(nslookup tasks."+name+"web | grep -c ^Address); sleep 1; done")))
	own := tasks[0].NetworksAttachments[0].Addresses[0].Addr().String()
	e.await("names lead where they should", func() error {
		text := e.log(asker)
		for _, want := range []string{"web=Address: " + virtual, "alias=Address: " + virtual, "round=Address: " + own, "tasks=3"} { // the third is the resolver's
			if !strings.Contains(text, want) {
				return fmt.Errorf("%w: no %s in %s", errNotYet, want, text)
			}
		}
		return nil
	})
}

// imagesKept: what the client writes is what is kept, for it is the client that pins; where no
// registry answers, the node's own image runs.
func imagesKept(e *engine, name string) {
	id := e.create(plain(name, 1, resting...))
	e.runs(id, 1)
	if got := e.service(id).Spec.TaskTemplate.ContainerSpec.Image; got != busybox {
		e.t.Errorf("the image is %s, the client wrote %s", got, busybox)
	}
	if code, text := e.ask(http.MethodGet, "/distribution/"+busybox+"/json", nil); code < http.StatusBadRequest {
		e.t.Errorf("the digest of an image of no registry: %d: %s", code, text)
	}
	missing := plain(name+"missing", 1, resting...)
	missing.TaskTemplate.ContainerSpec.Image = "127.0.0.1:1/absent:1" // nobody answers
	other := e.create(missing)
	e.await("the task says what is missing", func() error {
		if all := e.tasks(other); len(all) == 0 || !strings.Contains(told(all), "absent") {
			return fmt.Errorf("%w: %s", errNotYet, told(all))
		}
		return nil
	})
}

// stackDeploys: a deploy writes whole services again, and labels of secrets and configs;
// their content it cannot change, and what is used it cannot remove.
func stackDeploys(e *engine, name string) {
	labels := map[string]string{"com.docker.stack.namespace": name}
	e.t.Cleanup(func() {
		if out, err := e.h.Kubectl(context.Background(), "delete", "namespace", name, "--ignore-not-found", "--wait=false"); err != nil {
			e.t.Errorf("removing the stack's namespace: %v: %s", err, out)
		}
	})
	secret := swarm.SecretSpec{Annotations: swarm.Annotations{Name: name + "_s", Labels: labels}, Data: []byte("one")}
	id := e.made("secrets", secret)
	update := func() (int, string) {
		return e.ask(http.MethodPost, fmt.Sprintf("/secrets/%s/update?version=%d", id, get[swarm.Secret](e, "/secrets/"+id).Version.Index), secret)
	}
	secret.Labels = map[string]string{"com.docker.stack.namespace": name, "more": "yes"}
	if code, text := update(); code != http.StatusOK || get[swarm.Secret](e, "/secrets/"+id).Spec.Labels["more"] != "yes" {
		e.t.Errorf("new labels of a secret: %d: %s", code, text)
	}
	secret.Data = []byte("two")
	if code, text := update(); code != http.StatusBadRequest || !strings.Contains(text, "only updates to Labels are allowed") {
		e.t.Errorf("a new content of a secret: %d: %s", code, text)
	}
	spec := plain(name+"_web", 1, resting...)
	spec.Labels = labels
	spec.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretID: id, SecretName: name + "_s", File: &swarm.SecretReferenceFileTarget{Name: "s", UID: "0", GID: "0", Mode: 0o444}}}
	web := e.create(spec)
	e.runs(web, 1)
	if code, text := e.ask(http.MethodDelete, "/secrets/"+id, nil); code != http.StatusBadRequest || !strings.Contains(text, name+"_web") {
		e.t.Errorf("removing a secret that is used: %d: %s", code, text)
	}
	three := uint64(3)
	e.change(web, func(s *swarm.ServiceSpec) { s.Mode.Replicated.Replicas = &three })
	e.runs(web, 3)
	e.change(web, func(s *swarm.ServiceSpec) { *s = spec }) // what the file says
	e.runs(web, 1)
}
