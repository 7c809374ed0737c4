package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

// floatingManifest is a pool on the wire, a load balancer that has an address of it,
// and pods that may be on either worker.
const floatingManifest = `
apiVersion: trireme.dev/v1
kind: AddressPool
metadata: {name: wire}
spec: {default: true, addresses: [192.168.77.200-192.168.77.203]}
---
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
`

const floatingService = `
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

const floatingPod = `
apiVersion: v1
kind: Pod
metadata: {name: mail}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: %s, command: [sh, -c, "while :; do echo mail of $(hostname) | nc -l -p 25; done"]}]
`

// TestFloating: addresses of a pool are answered for by one machine, by another when
// that is lost, follow a pod from node to node, and are free again when released.
func TestFloating(t *testing.T) {
	c := ownCluster(t, 3)
	manager := c.Hosts[0]
	if err := bringUp(t.Context(), manager, "--grace", "3s"); err != nil {
		t.Fatal(err)
	}
	join(t, manager, c.Hosts[1:]...)
	tar, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := manager.Trireme(t.Context(), "image", "push", tar); err != nil { // for the workers
		t.Fatalf("%v: %s", err, out)
	}
	k := &client{t: t, h: manager, namespace: "default"}
	k.apply(floatingManifest)
	k.apply(fmt.Sprintf(floatingService, "web") + "---" + fmt.Sprintf(floatingService, "web2")) // both on port 80
	k.must("rollout", "status", "daemonset/web", "--timeout=60s")
	k.must("wait", "service/web", "service/web2", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "--timeout=10s")
	address := k.get("service/web", ".status.loadBalancer.ingress[0].ip")
	if other := k.get("service/web2", ".status.loadBalancer.ingress[0].ip"); other == address {
		t.Fatalf("two services have %s", address)
	}
	answers := func() error { return fromOutside(t.Context(), c, address+":80", "Hello from") }
	await(t, manager, 10*time.Second, "the load balancer answers", answers)

	// The machine that answers loses its power.
	k.must("label", "node", manager.Name, "node.kubernetes.io/exclude-from-external-load-balancers=")
	node := ""
	await(t, manager, 10*time.Second, "a worker answers", func() error {
		if node = k.get("fip/lb-web", ".status.node"); node == manager.Name || node == "" {
			return errors.New("it is " + node)
		}
		return answers()
	})
	lost, other := c.Hosts[1], c.Hosts[2]
	if node == other.Name {
		lost, other = other, lost
	}
	if err := lost.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	await(t, manager, 15*time.Second, "another worker answers", func() error {
		if node = k.get("fip/lb-web", ".status.node"); node != other.Name {
			return errors.New("it is " + node)
		}
		return answers()
	})
	t.Logf("the address is answered for by another machine after %s", time.Since(began).Round(time.Millisecond))
	if err := errors.Join(lost.PowerOn(t.Context()), lost.Restart(), manager.NodeIs(t.Context(), lost, "True")); err != nil {
		t.Fatal(err)
	}
	floatingPodMoves(t, c, k)

	k.must("patch", "service", "web2", "-p", `{"spec":{"type":"ClusterIP"}}`)
	await(t, manager, 10*time.Second, "the retyped service releases its address", func() error {
		if out, err := k.run(t.Context(), "", "get", "fip", "lb-web2"); err == nil || !strings.Contains(out, "not found") {
			return errors.New(out)
		}
		return nil
	})
}

// floatingPodMoves: an address leads to a pod on one machine, then on another.
func floatingPodMoves(t *testing.T, c *cluster.Cluster, k *client) {
	t.Helper()
	fip := func(args ...string) string {
		t.Helper()
		out, err := k.h.Trireme(t.Context(), append([]string{"fip"}, args...)...)
		if err != nil {
			t.Fatalf("trireme fip %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(out)
	}
	if out, err := k.h.Trireme(t.Context(), "fip", "allocate", "wrong", "--address", "192.168.77.1"); err == nil || !strings.Contains(fmt.Sprint(out, err), "no AddressPool has the address") {
		t.Fatalf("an address of no pool: %v: %s", err, out)
	}
	if got := fip("allocate", "mail", "--address", "192.168.77.203"); got != "192.168.77.203" {
		t.Fatalf("allocated %q", got)
	}
	seen := whoCalls(t, c)
	for i, h := range c.Hosts[1:] {
		k.apply(fmt.Sprintf(floatingPod, h.Name, busybox))
		k.must("wait", "pod/mail", "--for=condition=Ready", "--timeout=30s")
		if i == 0 {
			fip("attach", "mail", "pod/mail")
		}
		await(t, k.h, 10*time.Second, "the pod answers", func() error {
			return fromOutside(t.Context(), c, "192.168.77.203:25", "mail of mail")
		})
		if got := k.must("exec", "mail", "--", "wget", "-qO-", seen); got != "192.168.77.203" {
			t.Errorf("on %s the pod leaves the cluster as %q", h.Name, got)
		}
		if got := fip("ls"); !strings.Contains(got, h.Name) || !strings.Contains(got, "pod/mail") {
			t.Errorf("trireme fip ls:\n%s", got)
		}
		k.must("delete", "pod", "mail", "--now")
	}
	fip("detach", "mail")
	fip("release", "mail")
	if got := fip("allocate", "again", "--address", "192.168.77.203"); got != "192.168.77.203" {
		t.Errorf("the released address is not free: %q", got)
	}
	fip("release", "again")
}

// fromOutside asks an address from a client on the wire.
func fromOutside(ctx context.Context, c *cluster.Cluster, address, want string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := c.Outside().Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	out, err := io.ReadAll(conn)
	if !strings.Contains(string(out), want) {
		return fmt.Errorf("%q, want %q (%w)", out, want, err)
	}
	return nil
}

// whoCalls serves, on the wire, the address that a client has, and returns its URL.
func whoCalls(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	var l net.Listener
	if err := c.Outside().Within(func() (err error) { l, err = net.Listen("tcp4", "192.168.77.253:0"); return err }); err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr) // the server's own words
		fmt.Fprint(w, host)
	})}
	t.Cleanup(func() { s.Close() })
	go s.Serve(l)
	return "http://" + l.Addr().String() + "/"
}
