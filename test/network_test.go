package test

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

// networkManifest is two networks of one subnet, which is the services' as well; one of
// them has IPv6 too.
const networkManifest = `
apiVersion: trireme.dev/v1
kind: Network
metadata: {name: red}
spec: {subnets: [{cidr: 10.96.0.0/24}, {cidr: "fd00:9::/64"}]}
---
apiVersion: trireme.dev/v1
kind: Network
metadata: {name: blue}
spec: {subnets: [{cidr: 10.96.0.0/24}]}
---
apiVersion: trireme.dev/v1
kind: Network
metadata: {name: green}
spec: {subnets: [{cidr: "fd00:9::/64"}]}
---
apiVersion: trireme.dev/v1
kind: Network
metadata: {name: shut}
spec: {internal: true, subnets: [{cidr: 10.0.9.0/24}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {echo: "true"}, ports: [{port: 25}]}
`

const networkPod = `
apiVersion: v1
kind: Pod
metadata:
  name: %[1]s
  labels: {echo: "%[5]t"}
  annotations: {k8s.v1.cni.cncf.io/networks: '[%[2]s]', trireme.dev/networks-only: "%[5]t"}
spec:
  nodeName: %[3]s
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: %[4]s, command: [sh, -c, "while :; do echo %[1]s | nc -l -p 25; done"]}]
`

// TestNetworks: pods on tenants' networks of the same addresses reach those of their
// own network on another machine, and a network that is used stays.
func TestNetworks(t *testing.T) {
	c := ownCluster(t, 2)
	manager, worker := c.Hosts[0], c.Hosts[1]
	if err := bringUp(t.Context(), manager); err != nil {
		t.Fatal(err)
	}
	join(t, manager, worker)
	tar, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := manager.Trireme(t.Context(), "image", "push", tar); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	k := &client{t: t, h: manager, namespace: "default"}
	k.apply(networkManifest)
	on := func(network, ips string) string {
		return fmt.Sprintf(`{"name":%q,"ips":["%s"]}`, network, strings.ReplaceAll(ips, " ", `","`))
	}
	pods := ""
	for _, p := range [][]any{
		{"r1", on("red", "10.96.0.2 fd00:9::2"), manager.Name}, {"r2", on("red", "10.96.0.3"), worker.Name},
		{"b1", on("blue", "10.96.0.2"), manager.Name},
		{"both", on("blue", "10.96.0.4") + "," + on("green", "fd00:9::4"), worker.Name}, {"g1", on("green", "fd00:9::3"), manager.Name},
		{"o1", on("red", "10.96.0.7"), manager.Name, true}, {"o2", on("red", "10.96.0.8"), worker.Name, true}, {"s1", on("shut", "10.0.9.2"), worker.Name, true},
	} {
		pods += fmt.Sprintf(networkPod, p[0], p[1], p[2], busybox, len(p) > 3) + "---"
	}
	k.apply(strings.TrimSuffix(pods, "---"))
	k.must("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
	for _, c := range []struct{ from, to, want string }{
		{"r2", "10.96.0.2", "r1"}, {"r2", "fd00:9::2", "r1"}, {"both", "10.96.0.2", "b1"}, {"both", "fd00:9::3", "g1"},
	} {
		await(t, manager, 20*time.Second, c.from+" reaches "+c.want+" at "+c.to, func() error {
			out, err := k.run(t.Context(), "", "exec", c.from, "--", "nc", "-w", "2", c.to, "25")
			if err == nil && strings.TrimSpace(out) != c.want {
				err = errors.New(out)
			}
			return err
		})
	}
	if out, err := k.run(t.Context(), "", "exec", "b1", "--", "nc", "-w", "2", "10.96.0.3", "25"); err == nil && strings.Contains(out, "r2") {
		t.Errorf("a pod of blue reached one of red: %s", out)
	}
	if status := k.get("pod/r2", `.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status`); !strings.Contains(status, `"ips":["10.96.0.3","fd00:9::`) {
		t.Errorf("network-status is %s", status)
	}

	ways(t, c, k)

	k.must("delete", "network.trireme.dev", "red", "--wait=false")
	await(t, manager, 10*time.Second, "the network says that it is used", func() error {
		if reason := k.get("network.trireme.dev/red", ".status.conditions[0].reason"); reason != "InUse" {
			return errors.New(reason)
		}
		return nil
	})
	k.must("delete", "pod", "r1", "r2", "o1", "o2")
	k.must("wait", "network.trireme.dev/red", "--for=delete", "--timeout=20s")
}

// ways looks at pods that are on tenants' networks only: what they reach of the world, and
// which names they and others have for them.
func ways(t *testing.T, c *cluster.Cluster, k *client) {
	t.Helper()
	const world = "192.168.77.253"
	var l net.Listener
	if err := c.Outside().Within(func() (err error) {
		l, err = net.Listen("tcp", world+":0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, "hello", conn.RemoteAddr().(*net.TCPAddr).IP)
			conn.Close()
		}
	}()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	ask := func(pod, want string, command []string) error {
		out, err := k.run(t.Context(), "", append([]string{"exec", pod, "--"}, command...)...)
		if err == nil && !strings.Contains(out, want) {
			err = errors.New("not what was asked for")
		}
		if err != nil {
			return fmt.Errorf("in %s, %v: %w: %s", pod, command, err, out)
		}
		return nil
	}
	says := func(pod, want string, command ...string) {
		t.Helper()
		await(t, k.h, 20*time.Second, pod+" hears "+want, func() error { return ask(pod, want, command) })
	}
	never := func(pod, what string, command ...string) {
		t.Helper()
		if ask(pod, what, command) == nil {
			t.Errorf("in %s, %v says %s", pod, command, what)
		}
	}
	says("o1", "hello "+c.Hosts[0].Address, "nc", "-w", "2", world, port)
	says("o2", "hello "+c.Hosts[1].Address, "nc", "-w", "2", world, port)
	never("s1", "hello", "nc", "-w", "2", world, port)
	says("o2", "o1", "nc", "-w", "2", "10.96.0.7", "25")
	never("b1", "o1", "nc", "-w", "2", k.get("pod/o1", ".status.podIP"), "25") // by the cluster's network

	says("o2", "10.96.0.7", "nslookup", "echo.default.svc.cluster.local")
	says("o2", "10.96.0.7", "nslookup", "o1.default.svc.cluster.local")
	says("r2", "10.96.0.8", "nslookup", "echo.red.default.net.cluster.local")
	says("r2", k.get("service/echo", ".spec.clusterIP"), "nslookup", "echo.default.svc.cluster.local")
	says("s1", "10.0.9.2", "nslookup", "echo.default.svc.cluster.local")
	never("b1", "10.96.0.7", "nslookup", "o1.red.default.net.cluster.local")
}
