package test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trireme/internal/bundle"
	"trireme/internal/kind"
	"trireme/test/cluster"
)

// pluginConf is a chain of CNI's own plugins with five addresses for pods.
const pluginConf = `{"cniVersion": "1.0.0", "name": "mine", "plugins": [
  {"type": "bridge", "bridge": "mine0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": {
    "type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.22.0.0/24", "rangeStart": "10.22.0.10", "rangeEnd": "10.22.0.14"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}`

const pluginPods = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [` + webContainer + `]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: ` + busybox + `
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "while :; do echo $IP | nc -l -p 25; done"]
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    ports: [{containerPort: 25, hostPort: 2525}]
`

// TestPlugins: a node whose pods are attached by CNI plugins of the user's choice, with
// either runtime driver. It is not ready before there is a configuration; pods have
// addresses of the plugins' and are reached at them, by a service, its name and a host port;
// addresses outlive the agent, and go back with their pods and with the node.
func TestPlugins(t *testing.T) {
	for _, driver := range []string{"native", "cri"} {
		t.Run(driver, func(t *testing.T) { testPlugins(t, driver) })
	}
}

func testPlugins(t *testing.T, driver string) {
	plugins, conf, leases := t.TempDir(), t.TempDir(), t.TempDir() // first: they go after the machine
	c := ownCluster(t, 1)
	h := c.Hosts[0]
	files, err := bundle.Extract(t.Context(), plugins)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start("up", "--cni-conf-dir", conf, "--cni-bin-dir", files.CNI, "--runtime", driver); err != nil {
		t.Fatal(err)
	}
	condition := func() (string, error) {
		return h.Kubectl(t.Context(), "get", "node", h.Name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].message}`)
	}
	await(t, h, 60*time.Second, "the node says that there is no network configuration", func() error {
		said, err := condition()
		if err == nil && !strings.Contains(said, "NetworkPluginNotReady") {
			err = kind.New(kind.Unavailable, "it says %q", said)
		}
		return err
	})
	if err := os.WriteFile(filepath.Join(conf, "10-mine.conflist"), fmt.Appendf(nil, pluginConf, leases), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	tar, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Trireme(t.Context(), "image", "import", tar); err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, h: h, namespace: "default"}
	k.apply(pluginPods)
	k.must("rollout", "status", "deployment/web", "--timeout=90s")
	k.must("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")

	leased := func() (ips []string) { // as the plugins have it
		all, err := filepath.Glob(filepath.Join(leases, "mine", "10.22.0.*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range all {
			ips = append(ips, filepath.Base(path))
		}
		return ips
	}
	has := func() []string {
		ips := strings.Fields(k.must("get", "pods", "-o", `jsonpath={.items[*].status.podIP}`))
		slices.Sort(ips)
		return ips
	}
	reached := func() {
		t.Helper()
		ips := has()
		if len(ips) != 3 || !slices.Equal(ips, leased()) {
			t.Fatalf("the pods have %v, the plugins gave %v", ips, leased())
		}
		own := k.must("get", "pod", "client", "-o", "jsonpath={.status.podIP}")
		for _, ip := range ips {
			k.must("exec", "client", "--", "ping", "-c", "1", "-W", "5", ip)
		}
		vip := k.must("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
		if out := k.must("exec", "client", "--", "nslookup", "web.default.svc.cluster.local"); !strings.Contains(out, vip) {
			t.Errorf("DNS says %q, want %s", out, vip)
		}
		for range 6 { // both pods
			out := k.must("exec", "client", "--", "sh", "-c", `printf 'GET /healthz HTTP/1.0\r\n\r\n' | nc -w 10 `+vip+" 80")
			if !strings.Contains(out, "200 OK") {
				t.Fatalf("the service says %q", out)
			}
		}
		for _, from := range []cluster.Place{h.Place(), c.Outside()} {
			await(t, h, 30*time.Second, "the host port answers", func() error { // nc listens again and again
				said, err := saysAt(t.Context(), from, net.JoinHostPort(h.Address, "2525"))
				if err == nil && said != own {
					err = kind.New(kind.Unavailable, "it says %q, want %s", said, own)
				}
				return err
			})
		}
	}
	reached()
	before := has()
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := h.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.must("wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s")
	if reached(); !slices.Equal(has(), before) {
		t.Errorf("the pods had %v and have %v", before, has())
	}

	k.must("scale", "deployment/web", "--replicas=5") // one more than there are addresses
	await(t, h, 60*time.Second, "an event has the plugin's words", func() error {
		out, err := k.run(t.Context(), "", "get", "events", "--field-selector=reason=FailedCreatePodSandBox", "-o", "jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(out, "no IP addresses available in range set") {
			err = kind.New(kind.Unavailable, "events: %s", out)
		}
		return err
	})
	k.must("delete", "pod", "client")
	k.must("rollout", "status", "deployment/web", "--timeout=90s")
	k.must("delete", "deployment", "web", "--cascade=foreground")
	await(t, h, 60*time.Second, "the plugins have all addresses back", func() error {
		if left := leased(); len(left) > 0 {
			return kind.New(kind.Unavailable, "%v are given", left)
		}
		return nil
	})

	k.apply(pluginPods)
	k.must("rollout", "status", "deployment/web", "--timeout=90s")
	if _, err := h.Trireme(t.Context(), "down", "--root", h.Root); err != nil {
		t.Fatal(err)
	}
	if left := leased(); len(left) > 0 {
		t.Errorf("after down the plugins have given %v", left)
	}
}

// saysAt returns what is said to who connects, whitespace around it left out.
func saysAt(ctx context.Context, from cluster.Place, address string) (string, error) {
	conn, err := from.Dial(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	b := make([]byte, 256)
	n, err := conn.Read(b)
	return strings.TrimSpace(string(b[:n])), err
}
