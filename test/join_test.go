package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestJoin: a second machine joins with the token, takes pods, and both machines
// are one network. A node that is lost is noticed and its pods run elsewhere.
func TestJoin(t *testing.T) {
	hosts := ownMachines(t, 2)
	a, b := hosts[0], hosts[1]
	if err := bringUp(t.Context(), a, "--grace", "3s"); err != nil {
		t.Fatal(err)
	}
	join(t, a, b)
	k := &client{t: t, h: a, namespace: "default"}
	tar, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Trireme(t.Context(), "image", "import", tar); err != nil {
		t.Fatal(err)
	}
	k.apply(webPods + `
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 8088, targetPort: 8080}]
`)
	k.must("rollout", "status", "deployment/web", "--timeout=60s")
	if nodes := k.must("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"); !strings.Contains(nodes, a.Name) || !strings.Contains(nodes, b.Name) {
		t.Errorf("two replicas run on %s", nodes)
	}
	for _, h := range hosts {
		await(t, h, 15*time.Second, "both replicas answer on the mesh port of "+h.Name, func() error {
			seen := map[string]bool{}
			for range 20 {
				body, err := curl(t.Context(), h, "http://127.0.0.1:8088/")
				if err != nil {
					return err
				}
				seen[body] = true
			}
			if len(seen) != 2 {
				return fmt.Errorf("%v", seen)
			}
			return nil
		})
	}
	k.must("run", "probe", "--image="+busybox, "--overrides", `{"spec":{"nodeName":"`+b.Name+`"}}`, "--command", "--", "sleep", "1000")
	k.must("wait", "--for=condition=Ready", "pod/probe", "--timeout=60s")
	ip := k.must("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	if out := k.must("exec", "probe", "--", "nslookup", "web.default.svc.cluster.local"); !strings.Contains(out, ip) {
		t.Errorf("the service's name on the other node: %s", out)
	}
	onB := k.must("get", "pods", "-l", "app=web", "--field-selector", "spec.nodeName="+b.Name, "-o", "jsonpath={.items[0].metadata.name}")
	for range 8 {
		if out := k.must("exec", onB, "--", "/web", "get", "http://web:8088/"); !strings.Contains(out, "Hello from web-") {
			t.Errorf("the service from the other node: %s", out)
		}
	}
	if out := k.must("logs", "-l", "app=web"); strings.Count(out, "serves on") != 2 {
		t.Errorf("logs of both nodes: %s", out)
	}

	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, a, 20*time.Second, "the lost node is noticed", func() error {
		if out := k.must("get", "node", b.Name, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"); out != "Unknown" {
			return fmt.Errorf("Ready is %s", out)
		}
		return nil
	})
	await(t, a, 15*time.Second, "traffic avoids the lost node", func() error {
		for range 10 {
			if _, err := curl(t.Context(), a, "http://127.0.0.1:8088/"); err != nil {
				return err
			}
		}
		return nil
	})
	if err := b.Start("join", "--token", "TRIREME-1-"+strings.Repeat("0", 64)+"-"+strings.Repeat("0", 32), a.Address); err != nil {
		t.Fatal(err)
	}
	await(t, b, 30*time.Second, "the node comes back with the identity it has", func() error {
		if out := k.must("get", "node", b.Name, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"); out != "True" {
			return fmt.Errorf("Ready is %s", out)
		}
		return nil
	})
}
