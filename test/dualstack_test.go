package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

const dualManifest = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [` + webContainer + `]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ask}
spec:
  selector: {matchLabels: {app: ask}}
  template:
    metadata: {labels: {app: ask}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: trireme.local/busybox:1, command: [sleep, "1000000"]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {ipFamilies: [IPv6], selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: each}
spec: {clusterIP: None, ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{port: 8080}]}
`

// dualIngress leads to a service that has IPv6 alone.
const dualIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: six}
spec: {defaultBackend: {service: {name: six, port: {number: 80}}}}
`

// onePolicy lets one address of IPv6 call the web servers.
const onePolicy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: one}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{ipBlock: {cidr: "%s/128"}}]}]
`

// TestDualStack: two machines with addresses of both families; pods, services, names,
// node ports, ingress and policies have IPv6 as they have IPv4.
func TestDualStack(t *testing.T) {
	c := ownClusterOf(t, cluster.Config{Hosts: 2, Family: cluster.Dual})
	manager := c.Hosts[0]
	if err := bringUp(t.Context(), manager); err != nil {
		t.Fatal(err)
	}
	join(t, manager, c.Hosts[1])
	tar, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := manager.Trireme(t.Context(), "image", "push", tar); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	k := &client{t: t, h: manager, namespace: "default"}
	k.apply(dualManifest + "---" + dualIngress)
	k.must("rollout", "status", "daemonset/web", "--timeout=60s")
	k.must("rollout", "status", "daemonset/ask", "--timeout=60s")
	for _, h := range c.Hosts {
		if got := k.get("node/"+h.Name, ".status.addresses[?(@.type=='InternalIP')].address"); got != h.Address+" "+h.IPv6 {
			t.Errorf("node %s has the addresses %q", h.Name, got)
		}
	}
	asks := strings.Fields(k.must("get", "pods", "-l", "app=ask", "-o", "jsonpath={.items[*].metadata.name}"))
	webs := strings.Fields(k.must("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIPs[1].ip}"))
	if len(asks) != 2 || len(webs) != 2 || !strings.HasPrefix(webs[0], "fd00:10:128:") {
		t.Fatalf("pods %q, second addresses %q", asks, webs)
	}
	six := k.get("service/six", ".spec.clusterIPs[0]")
	second := k.get("service/web", ".spec.clusterIPs[1]")
	for _, pod := range asks {
		await(t, manager, 10*time.Second, "a pod is answered", func() error {
			return k.fromPod(pod, webs[0]+" 8080", webs[1]+" 8080", six+" 80", second+" 80", k.get("service/web", ".spec.clusterIPs[0]")+" 80")
		})
	}
	k.resolves(asks[0], map[string][]string{
		"-type=aaaa six.default.svc.cluster.local":  {six},
		"-type=aaaa each.default.svc.cluster.local": webs,
		six: {"six.default.svc.cluster.local"},
	})
	var nodes []string
	for _, h := range c.Hosts {
		nodes = append(nodes, h.Address, h.IPv6)
		for _, port := range []string{"30080", "80"} { // the node port, ingress
			for _, address := range []string{h.Address + ":" + port, "[" + h.IPv6 + "]:" + port} {
				await(t, manager, 5*time.Second, "the node answers at "+address, func() error { return fromOutside(t.Context(), c, address, "Hello from") })
			}
		}
	}
	named(t, k, "ingress/six", strings.Join(nodes, " "))
	// A policy that lets one pod in, by its address.
	k.apply(fmt.Sprintf(onePolicy, k.get("pod/"+asks[0], ".status.podIPs[1].ip")))
	for _, web := range webs {
		await(t, manager, 5*time.Second, "a pod is kept out", func() error {
			if k.fromPod(asks[1], web+" 8080") == nil {
				return errors.New("it is answered")
			}
			return nil
		})
		if err := k.fromPod(asks[0], web+" 8080"); err != nil {
			t.Error(err)
		}
	}
	k.must("delete", "networkpolicy", "one")
	// A second family comes and goes; the first one stays.
	for _, c := range []struct{ policy, want string }{{"PreferDualStack", "IPv6 IPv4"}, {"SingleStack", "IPv6"}} {
		k.must("patch", "service", "six", "-p", `{"spec":{"ipFamilyPolicy":"`+c.policy+`"}}`)
		if got := k.get("service/six", ".spec.ipFamilies[*]"); got != c.want || k.get("service/six", ".spec.clusterIPs[0]") != six {
			t.Errorf("with %s: families %q, want %q, first address %s", c.policy, got, c.want, six)
		}
	}
}

// fromPod asks web servers, each "ADDRESS PORT", from a pod; all have to answer.
func (k *client) fromPod(pod string, servers ...string) error {
	// busybox's wget ends in a fault at an address of IPv6.
	line := "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 $s | grep -q 'Hello from' || { echo no $s; exit 1; }"
	script := `for s in "` + strings.Join(servers, `" "`) + `"; do ` + line + `; done`
	if out, err := k.run(k.t.Context(), "", "exec", pod, "--", "sh", "-c", script); err != nil {
		return fmt.Errorf("%s asks %s: %w: %s", pod, servers, err, out)
	}
	return nil
}

// resolves asks DNS from a pod, with nslookup, and looks for what is to be in the answers.
func (k *client) resolves(pod string, answers map[string][]string) {
	k.t.Helper()
	for question, want := range answers {
		out := k.must(append([]string{"exec", pod, "--", "nslookup"}, strings.Fields(question)...)...)
		for _, w := range want {
			if !strings.Contains(out, w) {
				k.t.Errorf("nslookup %s lacks %s: %s", question, w, out)
			}
		}
	}
}
