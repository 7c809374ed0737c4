package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

// floatingManifest is pools on the wire, one for load balancers and one for who asks for
// an address of it, and pods on every machine.
const floatingManifest = `
apiVersion: trireme.dev/v1
kind: AddressPool
metadata: {name: wire}
spec: {default: true, addresses: [192.168.77.200-192.168.77.203, "fd77::200-fd77::203"]}
---
apiVersion: trireme.dev/v1
kind: AddressPool
metadata: {name: kept}
spec: {addresses: [192.168.77.210/32, "fd77::210/128"]}
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
spec: {type: LoadBalancer, ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
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
// that is lost, follow a pod from node to node, and are free again when released. A
// service has one of each family, which need not be of one machine.
func TestFloating(t *testing.T) {
	c := ownClusterOf(t, cluster.Config{Hosts: 3, Family: cluster.Dual})
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
	k.must("wait", "service/web", "service/web2", "--for=jsonpath={.status.loadBalancer.ingress[1].ip}", "--timeout=10s")
	var addresses []string
	for i, prefix := range []string{"192.168.77.20", "fd77::20"} {
		path := fmt.Sprintf(".status.loadBalancer.ingress[%d].ip", i)
		address := k.get("service/web", path)
		if other := k.get("service/web2", path); other == address || !strings.HasPrefix(address, prefix) {
			t.Fatalf("services have %s and %s", address, other)
		}
		addresses = append(addresses, net.JoinHostPort(address, "80"))
	}
	answers := func() error {
		return errors.Join(fromOutside(t.Context(), c, addresses[0], "Hello from"), fromOutside(t.Context(), c, addresses[1], "Hello from"))
	}
	await(t, manager, 10*time.Second, "the load balancer answers", answers)

	// The machine that answers loses its power.
	lost, other := c.Hosts[1], c.Hosts[2]
	k.must("label", "node", manager.Name, other.Name, "node.kubernetes.io/exclude-from-external-load-balancers=")
	nodes := func() string {
		return k.get("fip/lb-web", ".status.node") + " " + k.get("fip/lb-web.ipv6", ".status.node")
	}
	await(t, manager, 10*time.Second, "a worker answers", func() error {
		if got := nodes(); got != lost.Name+" "+lost.Name {
			return errors.New("they are " + got)
		}
		return answers()
	})
	k.must("label", "node", other.Name, "node.kubernetes.io/exclude-from-external-load-balancers-")
	if err := lost.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	await(t, manager, 15*time.Second, "another worker answers", func() error {
		if got := nodes(); got != other.Name+" "+other.Name {
			return errors.New("they are " + got)
		}
		return answers()
	})
	t.Logf("the addresses are answered for by another machine after %s", time.Since(began).Round(time.Millisecond))
	if err := errors.Join(lost.PowerOn(t.Context()), lost.Restart(), manager.NodeIs(t.Context(), lost, "True")); err != nil {
		t.Fatal(err)
	}
	floatingPodMoves(t, c, k, "192.168.77.210", whoCalls(t, c, "192.168.77.253"))
	floatingPodMoves(t, c, k, "fd77::210", whoCalls(t, c, cluster.Outside6))

	k.must("patch", "service", "web2", "-p", `{"spec":{"type":"ClusterIP"}}`)
	await(t, manager, 10*time.Second, "the retyped service releases its address", func() error {
		if out, err := k.run(t.Context(), "", "get", "fip", "lb-web2"); err == nil || !strings.Contains(out, "not found") {
			return errors.New(out)
		}
		return nil
	})
}

// floatingPodMoves: an address leads to a pod on one machine, then on another.
// seen is where it finds out as whom it calls.
func floatingPodMoves(t *testing.T, c *cluster.Cluster, k *client, address, seen string) {
	t.Helper()
	fip := func(args ...string) string {
		t.Helper()
		out, err := k.h.Trireme(t.Context(), append([]string{"fip"}, args...)...)
		if err != nil {
			t.Fatalf("trireme fip %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(out)
	}
	if out, err := k.h.Trireme(t.Context(), "fip", "allocate", "wrong", "--address", c.Hosts[0].Address); err == nil || !strings.Contains(fmt.Sprint(out, err), "no AddressPool has the address") {
		t.Fatalf("an address of no pool: %v: %s", err, out)
	}
	if got := fip("allocate", "mail", "--address", address); got != address {
		t.Fatalf("allocated %q", got)
	}
	for i, h := range c.Hosts[1:] {
		k.apply(fmt.Sprintf(floatingPod, h.Name, busybox))
		k.must("wait", "pod/mail", "--for=condition=Ready", "--timeout=30s")
		if i == 0 {
			fip("attach", "mail", "pod/mail")
		}
		await(t, k.h, 10*time.Second, "the pod answers", func() error {
			return fromOutside(t.Context(), c, net.JoinHostPort(address, "25"), "mail of mail")
		})
		if got := k.must("exec", "mail", "--", "nc", seen, "99"); got != address {
			t.Errorf("on %s the pod leaves the cluster as %q", h.Name, got)
		}
		if got := fip("ls"); !strings.Contains(got, h.Name) || !strings.Contains(got, "pod/mail") {
			t.Errorf("trireme fip ls:\n%s", got)
		}
		k.must("delete", "pod", "mail", "--now")
	}
	fip("detach", "mail")
	fip("release", "mail")
	if got := fip("allocate", "again", "--address", address); got != address {
		t.Errorf("the released address is not free: %q", got)
	}
	fip("release", "again")
}

// fromOutside asks an address from a client on the wire.
func fromOutside(ctx context.Context, c *cluster.Cluster, address, want string) error {
	return webAnswers(ctx, c.Outside(), address, want)
}

// webAnswers asks an address, in HTTP, from a place.
func webAnswers(ctx context.Context, from cluster.Place, address, want string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", address)
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

// whoCalls tells who calls an address of the wire what address that is, on port 99, and
// returns the address.
func whoCalls(t *testing.T, c *cluster.Cluster, address string) string {
	t.Helper()
	var l net.Listener
	if err := c.Outside().Within(func() (err error) { l, err = net.Listen("tcp", net.JoinHostPort(address, "99")); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String()) // the library's own words
			fmt.Fprint(conn, host)
			conn.Close()
		}
	}()
	return address
}
