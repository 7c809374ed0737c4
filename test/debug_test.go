package test

import (
	"strings"
	"testing"
)

// TestDebug looks into a running pod whose image has no shell, as kubectl debug
// does: a container of another image that sees the target's processes.
func TestDebug(t *testing.T) {
	k := newClient(t, machine(t))
	k.must("run", "web", "--image=trireme.local/web:1")
	k.must("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
	k.must("debug", "web", "--image="+busybox, "--image-pull-policy=IfNotPresent", "--target=web", "--container=look", "--profile=general",
		"--", "sh", "-c", "ps; sleep 1000")
	k.must("wait", "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.running}", "pod/web", "--timeout=60s")
	if out := k.must("exec", "web", "-c", "look", "--", "ps"); !strings.Contains(out, "/web") {
		t.Errorf("the target's processes are not seen:\n%s", out)
	}
	if out := k.must("logs", "web", "-c", "look"); !strings.Contains(out, "/web") {
		t.Errorf("its log: %s", out)
	}
	for _, tt := range []struct{ patch, want string }{
		{`{"spec":{"ephemeralContainers":[{"name":"look","image":"other"}]}}`, `existing ephemeral containers "look" may not be changed`},
		{`{"spec":{"ephemeralContainers":[{"name":"more","image":"i","ports":[{"containerPort":80}]}]}}`, "ports: Forbidden: cannot be set for an Ephemeral Container"},
		{`{"spec":{"ephemeralContainers":[{"name":"more","image":"i","targetContainerName":"none"}]}}`, "targetContainerName: Not found"},
	} {
		if out, err := k.run(t.Context(), "", "patch", "pod", "web", "--subresource=ephemeralcontainers", "-p", tt.patch); err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v %s", tt.patch, err, out)
		}
	}
	// What only the ephemeral container reads reaches the node too.
	k.must("create", "configmap", "only-here", "--from-literal=word=found")
	k.must("patch", "pod", "web", "--subresource=ephemeralcontainers", "-p", `{"spec":{"ephemeralContainers":[{"name":"reads","image":"`+busybox+`",
"imagePullPolicy":"IfNotPresent","command":["sh","-c","echo $word; sleep 1000"],"envFrom":[{"configMapRef":{"name":"only-here"}}]}]}}`)
	k.must("wait", `--for=jsonpath={.status.ephemeralContainerStatuses[?(@.name=="reads")].state.running}`, "pod/web", "--timeout=60s")
	if out := k.must("logs", "web", "-c", "reads"); !strings.Contains(out, "found") {
		t.Errorf("a ConfigMap that only the ephemeral container names: %s", out)
	}
	if out := k.must("get", "pod", "web", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].restartCount}"); out != "Running 0" {
		t.Errorf("the pod is %s", out)
	}
	k.must("delete", "pod", "web", "--grace-period=1")
}
