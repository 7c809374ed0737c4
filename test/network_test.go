package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// networkManifest is two networks of one subnet, which is the services' as well.
const networkManifest = `
apiVersion: trireme.dev/v1
kind: Network
metadata: {name: red}
spec: {subnets: [{cidr: 10.96.0.0/24}]}
---
apiVersion: trireme.dev/v1
kind: Network
metadata: {name: blue}
spec: {subnets: [{cidr: 10.96.0.0/24}]}
`

const networkPod = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, annotations: {k8s.v1.cni.cncf.io/networks: '[{"name":"%[2]s","ips":["%[3]s"]}]'}}
spec:
  nodeName: %[4]s
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: %[5]s, command: [sh, -c, "while :; do echo %[1]s | nc -l -p 25; done"]}]
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
	pods := ""
	for _, p := range [][]any{
		{"r1", "red", "10.96.0.2", manager.Name}, {"r2", "red", "10.96.0.3", worker.Name},
		{"b1", "blue", "10.96.0.2", manager.Name}, {"b2", "blue", "10.96.0.4", worker.Name},
	} {
		pods += fmt.Sprintf(networkPod, append(p, busybox)...) + "---"
	}
	k.apply(strings.TrimSuffix(pods, "---"))
	k.must("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
	for from, want := range map[string]string{"r2": "r1", "b2": "b1"} {
		await(t, manager, 20*time.Second, from+" reaches "+want, func() error {
			out, err := k.run(t.Context(), "", "exec", from, "--", "nc", "-w", "2", "10.96.0.2", "25")
			if err == nil && strings.TrimSpace(out) != want {
				err = errors.New(out)
			}
			return err
		})
	}
	if out, err := k.run(t.Context(), "", "exec", "b1", "--", "nc", "-w", "2", "10.96.0.3", "25"); err == nil && strings.Contains(out, "r2") {
		t.Errorf("a pod of blue reached one of red: %s", out)
	}
	if status := k.get("pod/r2", `.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status`); !strings.Contains(status, `"ips":["10.96.0.3"]`) {
		t.Errorf("network-status is %s", status)
	}

	k.must("delete", "network.trireme.dev", "red", "--wait=false")
	await(t, manager, 10*time.Second, "the network says that it is used", func() error {
		if reason := k.get("network.trireme.dev/red", ".status.conditions[0].reason"); reason != "InUse" {
			return errors.New(reason)
		}
		return nil
	})
	k.must("delete", "pod", "r1", "r2")
	k.must("wait", "network.trireme.dev/red", "--for=delete", "--timeout=20s")
}
