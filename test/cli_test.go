package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestCommandLine walks through what a user does without kubectl.
func TestCommandLine(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	run := func(args ...string) string {
		t.Helper()
		out, err := h.Trireme(t.Context(), append(args, "--namespace", k.namespace)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	contains := func(what, out, want string) {
		t.Helper()
		if !strings.Contains(out, want) {
			t.Errorf("%s does not say %q:\n%s", what, want, out)
		}
	}
	contains("run", run("run", "web", "--image", "trireme.local/web:1", "--replicas", "2", "--publish", "8090:8080", "--env", "A=b", "--memory", "64Mi", "--cpus", "0.1"), "port 8090")
	await(t, h, 10*time.Second, "the app answers", func() error {
		_, err := curl(t.Context(), h, "http://127.0.0.1:8090/")
		return err
	})
	contains("ps", run("ps"), "Running")
	contains("ps -o json", run("ps", "web", "-o", "json"), `"trireme.local/web:1"`)
	contains("logs", run("logs", "web"), "web-")
	completed, err := h.Trireme(t.Context(), "__complete", "--namespace", k.namespace, "ps", "")
	if err != nil {
		t.Fatal(err)
	}
	contains("completion of ps", completed, "web")
	contains("scale", run("scale", "web", "3"), "scaled to 3")
	contains("update", run("update", "web", "--image", "trireme.local/web:2"), "updated")
	if out := k.must("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image} {.status.updatedReplicas} {.status.replicas}"); out != "trireme.local/web:2 3 3" {
		t.Errorf("after the update: %s", out)
	}
	contains("rollback", run("rollback", "web"), "rolled back")
	contains("node ls", run("node", "ls", "-o", "wide"), "Ready")
	contains("image ls", run("image", "ls"), "trireme.local/web:1")
	contains("status", run("status"), "1 ready")
	contains("top", run("top"), "node")
	pod := k.must("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
	contains("why", run("why", pod), "runs since")
	contains("run large", run("run", "large", "--image", "trireme.local/web:1", "--cpus", "1000", "--detach"), "created")
	var large string
	await(t, h, 10*time.Second, "the large pod is refused", func() error {
		large = k.must("get", "pods", "-l", "app=large", "-o", "name")
		if large == "" {
			return errNotYet
		}
		if out := k.must("get", large, "-o", "jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}"); out != "Unschedulable" {
			return fmt.Errorf("reason %q", out)
		}
		return nil
	})
	contains("why large", run("why", strings.TrimPrefix(large, "pod/")), "Insufficient cpu")
	contains("rm", run("rm", "web", "large"), "removed")
	contains("config print", run("config", "print"), "serviceCIDR: 10.96.0.0/12")
	contains("doctor", run("doctor"), "nftables")
}

// TestNetworkCommand walks through what a user does with networks without kubectl, and
// runs into their limits: a quota, a subnet that is full, a network that is used.
func TestNetworkCommand(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	run := func(want string, args ...string) {
		t.Helper()
		out, err := h.Trireme(t.Context(), append(args, "--namespace", k.namespace)...)
		if err != nil {
			out += err.Error()
		}
		if !strings.Contains(out, want) {
			t.Errorf("trireme %s does not say %q:\n%s", strings.Join(args, " "), want, out)
		}
	}
	run("network red is ready", "network", "create", "red", "--subnet", "10.0.9.0/30", "--subnet", "fd00:9::/64", "--gateway", "10.0.9.2")
	run("is there already", "network", "create", "red", "--subnet", "10.0.9.0/30")
	run("between 8 and 30 bits", "network", "create", "blue", "--subnet", "10.0.9.0/31")
	run("is in no --subnet", "network", "create", "blue", "--subnet", "10.0.9.0/24", "--gateway", "10.0.8.1")
	k.must("create", "quota", "few", "--hard=count/networks.trireme.dev=1")
	await(t, h, 10*time.Second, "the quota counts", func() error {
		if used := k.get("quota/few", `.status.used.count/networks\.trireme\.dev`); used != "1" {
			return fmt.Errorf("used: %q", used)
		}
		return nil
	})
	run("exceeded quota: few", "network", "create", "blue", "--subnet", "10.0.9.0/24")
	run("10.0.9.0/30,fd00:9::/64", "network", "ls")

	for _, name := range []string{"first", "second"} { // there is an address for one of them
		k.apply(fmt.Sprintf(quietPod, name))
	}
	k.must("wait", "pod/first", "--for=condition=Ready", "--timeout=60s")
	run("10.0.9.1,fd00:9::2", "network", "inspect", "red")
	await(t, h, 10*time.Second, "the other says why it waits", func() error {
		out, err := h.Trireme(t.Context(), "why", "second", "--namespace", k.namespace)
		if err == nil && !strings.Contains(out, "every address of 10.0.9.0/30, network "+k.namespace+"/red, is taken") {
			err = fmt.Errorf("it says %s", out)
		}
		return err
	})
	run("in use by 1 pods, first among them", "network", "rm", "red")
	k.must("delete", "pod", "first")
	k.must("wait", "pod/second", "--for=condition=Ready", "--timeout=60s")
	k.must("delete", "pod", "second")
	run("network red removed", "network", "rm", "red")
	run("there is no network blue", "network", "inspect", "blue")
}

const quietPod = `
apiVersion: v1
kind: Pod
metadata: {name: %s, annotations: {k8s.v1.cni.cncf.io/networks: red}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: ` + busybox + `, command: [sleep, "1000000"]}]
`
