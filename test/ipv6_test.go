package test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"trireme/test/cluster"
)

const sixManifest = `
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
      containers:
      - {name: c, image: trireme.local/busybox:1, command: [sh, -c, "echo I am $IP on $NODE; exec sleep 1000000"],
         env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}, {name: NODE, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: mesh, annotations: {trireme.dev/keep-client-address: "true"}}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 8088, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: each}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}
`

// TestIPv6Only: three machines that have no address of IPv4 are a cluster as any other.
func TestIPv6Only(t *testing.T) {
	c := ownClusterOf(t, cluster.Config{Hosts: 3, Family: cluster.IPv6})
	manager := c.Hosts[0]
	if err := bringUp(t.Context(), manager); err != nil {
		t.Fatal(err)
	}
	join(t, manager, c.Hosts[1:]...)
	tar, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := manager.Trireme(t.Context(), "image", "push", tar); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	k := &client{t: t, h: manager, namespace: "default"}
	k.apply(sixManifest)
	k.must("rollout", "status", "daemonset/web", "--timeout=60s") // probed over IPv6
	k.must("rollout", "status", "daemonset/ask", "--timeout=60s")
	asks := strings.Fields(k.must("get", "pods", "-l", "app=ask", "-o", "jsonpath={.items[*].metadata.name}"))
	webs := strings.Fields(k.must("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}"))
	if len(asks) != 3 || len(webs) != 3 {
		t.Fatalf("pods %q that ask, %q that answer", asks, webs)
	}
	for _, address := range webs {
		if !strings.HasPrefix(address, "fd00:10:128:") {
			t.Errorf("a pod has the address %s", address)
		}
	}
	service := k.get("service/web", ".spec.clusterIP")
	for _, pod := range asks {
		own, host := k.get("pod/"+pod, ".status.podIP"), k.get("pod/"+pod, ".status.hostIP")
		if got, want := k.must("logs", pod), "I am "+own+" on "+host; got != want {
			t.Errorf("logs of %s: %q, want %q", pod, got, want)
		}
		await(t, manager, 10*time.Second, "a pod is answered", func() error {
			return k.fromPod(pod, webs[0]+" 8080", webs[1]+" 8080", webs[2]+" 8080", service+" 80", "web 80", c.Hosts[1].IPv6+" 30080")
		})
		k.must("exec", pod, "--", "sh", "-c", "nc -w 2 kubernetes 443 </dev/null")
		k.resolves(pod, map[string][]string{
			"-type=aaaa web.default.svc.cluster.local":            {service},
			"-type=aaaa each.default.svc.cluster.local":           webs,
			"-type=srv _http._tcp.web.default.svc.cluster.local.": {"80 web.default.svc.cluster.local"},
			service: {"web.default.svc.cluster.local"},
		})
	}
	for _, h := range c.Hosts {
		await(t, manager, 5*time.Second, "a node port answers", func() error {
			return webAnswers(t.Context(), c.Outside(), net.JoinHostPort(h.Address, "30080"), "Hello from")
		})
		for range 2 * len(c.Hosts) { // most are answered by another machine's pod
			for _, port := range []string{"30080", "8088"} {
				if err := webAnswers(t.Context(), h.Place(), "[::1]:"+port, "Hello from"); err != nil {
					t.Errorf("%s asks [::1]:%s: %v", h.Name, port, err)
				}
			}
		}
	}
	seesClients(t, c, "8088", 2*time.Second)
	k.apply(fmt.Sprintf(onePolicy, k.get("pod/"+asks[0], ".status.podIP")))
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
}
