package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/test/cluster"
)

// rooms are web servers on two machines; office is in a namespace of its own.
const rooms = `
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: ONE
  containers:
  - name: web
    image: trireme.local/web:1
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
  - name: web2
    image: trireme.local/web:1
    env: [{name: PORT, value: "9090"}]
---
apiVersion: v1
kind: Pod
metadata: {name: near, labels: {app: caller}}
spec: {nodeName: ONE, containers: [{name: web, image: trireme.local/web:1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far, labels: {app: caller}}
spec: {nodeName: TWO, containers: [{name: web, image: trireme.local/web:1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger}
spec: {nodeName: TWO, containers: [{name: web, image: trireme.local/web:1}]}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  type: LoadBalancer
  selector: {app: server}
  ports: [{port: 8088, targetPort: http}]
`

const office = `
apiVersion: v1
kind: Pod
metadata: {name: friend, labels: {app: caller}}
spec: {nodeName: TWO, containers: [{name: web, image: trireme.local/web:1}]}
`

// whoMay asks who can reach whom.
type whoMay struct {
	t      *testing.T
	k      *client
	c      *cluster.Cluster
	places map[string]cluster.Place
	ips    map[string]string
}

// silence is how long nobody answers where a policy forbids it.
const silence = 400 * time.Millisecond

// try makes the call "FROM TO:PORT" and says whether it was answered.
func (w *whoMay) try(call string) (bool, error) {
	from, to, _ := strings.Cut(call, " ")
	name, port, _ := strings.Cut(to, ":")
	ctx, cancel := context.WithTimeout(w.t.Context(), silence)
	defer cancel()
	conn, err := w.places[from].Dial(ctx, "tcp", net.JoinHostPort(w.ips[name], port))
	switch {
	case err == nil:
		return true, conn.Close()
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		return false, nil
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return false, nil
	}
	return false, fmt.Errorf("%s: %w, want an answer or silence", call, err)
}

// become waits until the calls are answered, or are not.
func (w *whoMay) become(after string, answered map[string]bool) {
	w.t.Helper()
	await(w.t, w.c.Hosts[0], 10*time.Second, after, func() error {
		var g errgroup.Group
		for call, want := range answered {
			g.Go(func() error {
				got, err := w.try(call)
				if err == nil && got != want {
					err = fmt.Errorf("%s: answered: %t, want %t", call, got, want)
				}
				return err
			})
		}
		return g.Wait()
	})
}

func (w *whoMay) policy(name, spec string) {
	w.t.Helper()
	w.k.apply("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name + "}\nspec: " + spec)
}

// TestNetworkPolicies: who may call whom on two machines follows what kubectl says.
func TestNetworkPolicies(t *testing.T) {
	c := ownCluster(t, 2)
	one, two := c.Hosts[0], c.Hosts[1]
	if err := bringUp(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	join(t, one, two)
	k := &client{t: t, h: one, namespace: "default"}
	nodes := strings.NewReplacer("ONE", one.Name, "TWO", two.Name)
	k.apply(nodes.Replace(rooms))
	k.must("create", "namespace", "office")
	(&client{t: t, h: one, namespace: "office"}).apply(nodes.Replace(office))
	w := &whoMay{t: t, k: k, c: c, places: map[string]cluster.Place{"outside": c.Outside(), "node1": one.Place(), "node2": two.Place()}, ips: map[string]string{
		"service": k.must("get", "service", "server", "-o", "jsonpath={.spec.clusterIP}"), "mesh1": one.Address, "mesh2": two.Address,
	}}
	for _, pod := range []string{"server", "near", "far", "stranger", "friend"} {
		ns := "default"
		if pod == "friend" {
			ns = "office"
		}
		k.must("wait", "-n", ns, "--for=condition=Ready", "pod/"+pod, "--timeout=60s")
		w.ips[pod] = k.must("get", "pod", pod, "-n", ns, "-o", "jsonpath={.status.podIP}")
		w.places[pod] = cluster.PlaceOf(pidsOf(t, k.must("get", "pod", pod, "-n", ns, "-o", "jsonpath={.metadata.uid}"), "web")[0])
	}
	open := map[string]bool{
		"near server:8080": true, "far server:8080": true, "stranger server:9090": true, "friend server:8080": true, "far service:8088": true,
		"node1 server:8080": true, "node2 server:8080": true, "outside mesh1:8088": true, "outside mesh2:8088": true, "server far:8080": true,
	}
	w.become("without policies", open)
	w.ingress(two)
	w.blocks(one)
	w.egress()
	k.must("delete", "networkpolicy", "--all")
	w.become("the policies are deleted", open)
	if got := k.must("get", "pod", "server", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"); got != "True" {
		t.Errorf("the server's probes were refused: Ready is %q", got)
	}
}

func (w *whoMay) ingress(two *cluster.Host) {
	w.policy("deny", "{podSelector: {}, policyTypes: [Ingress]}")
	w.become("nobody may by default", map[string]bool{
		"near server:8080": false, "far server:8080": false, "stranger far:8080": false, "friend server:8080": false, "far service:8088": false,
		"node2 server:8080": false, "outside mesh1:8088": false, "outside mesh2:8088": false,
		"node1 server:8080": true, "server friend:8080": true,
	})
	w.policy("callers", "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {app: caller}}}], ports: [{port: http}]}]}")
	callers := map[string]bool{
		"near server:8080": true, "far server:8080": true, "far service:8088": true, "near server:9090": false, "stranger server:8080": false,
		"friend server:8080": false, "stranger far:8080": false,
	}
	w.become("callers may, at the port named http", callers)
	w.k.must("label", "pod", "stranger", "app=caller")
	w.become("a pod becomes a caller", map[string]bool{"stranger server:8080": true})
	w.k.must("label", "pod", "stranger", "app-")
	w.become("it is one no more", callers)

	w.policy("office", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {trusted: 'yes'}}, podSelector: {matchLabels: {app: caller}}}]}]}")
	w.become("no namespace is trusted", map[string]bool{"friend server:8080": false})
	w.k.must("label", "namespace", "office", "trusted=yes")
	w.become("one is", map[string]bool{"friend server:9090": true, "friend far:8080": true, "stranger server:8080": false})

	// An agent that is away leaves what it knew in force; back, it hears of the rest.
	if err := two.Kill(); err != nil {
		w.t.Fatal(err)
	}
	w.k.must("label", "namespace", "office", "trusted-")
	w.become("the agent is away", map[string]bool{"friend server:8080": false, "friend far:8080": true, "stranger far:8080": false})
	if err := two.Restart(); err != nil {
		w.t.Fatal(err)
	}
	w.become("it is back", map[string]bool{"friend far:8080": false, "stranger far:8080": false, "far server:8080": true})
	w.k.must("delete", "networkpolicy", "callers", "office")
	w.become("nobody may again", map[string]bool{"far server:8080": false, "near server:8080": false})
}

// blocks lets clients in by address. Where the server runs, it sees who they are.
func (w *whoMay) blocks(one *cluster.Host) {
	spec := func(block string) string {
		return "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{ipBlock: " + block + "}], ports: [{port: 8000, endPort: 8080}]}]}"
	}
	w.policy("outside", spec("{cidr: 0.0.0.0/0}"))
	w.become("every address may", map[string]bool{"outside mesh1:8088": true, "far server:8080": true, "far server:9090": false})
	address, err := ownAddress(w.t.Context(), w.places["outside"], one.Address+":8088")
	if err != nil {
		w.t.Fatal(err)
	}
	w.policy("outside", spec("{cidr: 0.0.0.0/0, except: ["+address+"/32]}"))
	w.become("all but one", map[string]bool{"outside mesh1:8088": false, "far server:8080": true})
	w.policy("outside", spec("{cidr: "+address+"/32}"))
	w.become("that one alone", map[string]bool{"outside mesh1:8088": true, "far server:8080": false, "near server:8080": false})
	w.k.must("delete", "networkpolicy", "--all")
}

func (w *whoMay) egress() {
	w.ips["dns"] = "10.96.0.10"
	const callers = "podSelector: {matchLabels: {app: caller}}, policyTypes: [Egress]"
	w.policy("out", "{"+callers+"}")
	w.become("callers may call nobody", map[string]bool{
		"near server:8080": false, "far server:8080": false, "far service:8088": false, "far stranger:8080": false, "far mesh1:8088": false,
		"far dns:53": true, "stranger server:8080": true, "stranger far:8080": true,
	})
	w.policy("out", "{"+callers+", egress: [{to: [{podSelector: {matchLabels: {app: server}}}], ports: [{port: http}]}]}")
	w.become("callers may call servers at their port http", map[string]bool{
		"near server:8080": true, "far server:8080": true, "far service:8088": true, "far server:9090": false, "far stranger:8080": false, "far friend:8080": false,
	})
	w.policy("out", "{"+callers+", egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: office}}}]}, {to: [{ipBlock: {cidr: "+w.ips["stranger"]+"/32}}]}]}")
	w.become("callers may call the office and an address", map[string]bool{
		"far friend:8080": true, "near friend:8080": true, "near stranger:8080": true, "far server:8080": false,
	})
}
