package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object/sandbox"
	"trireme/test/cluster"
)

// taskPod is a pod with a sandbox whose one container runs on the node's own root.
func taskPod(t *testing.T, name string, cmd sandbox.Command, uris ...sandbox.URI) *corev1.Pod {
	t.Helper()
	grace := int64(5)
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "task"}}},
	}
	if err := sandbox.Set(p, sandbox.Place{Agent: "A-S0", Framework: "F-0", Executor: name}, uris); err != nil {
		t.Fatal(err)
	}
	sandbox.OnHostRoot(p, &p.Spec.Containers[0], "", cmd)
	return p
}

// started applies the pod and returns where its sandbox is.
func started(t *testing.T, k *client, p *corev1.Pod) string {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := k.run(t.Context(), string(b), "create", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	uid := k.must("get", "pod", p.Name, "-o", "jsonpath={.metadata.uid}")
	return filepath.Join(k.h.Root, "mesos/slaves/A-S0/frameworks/F-0/executors", p.Name, "runs", uid)
}

func ended(t *testing.T, k *client, name, phase string) {
	t.Helper()
	await(t, k.h, 60*time.Second, name+" is "+phase, func() error {
		if got := k.must("get", "pod", name, "-o", "jsonpath={.status.phase}"); got != phase {
			return fmt.Errorf("%w: %s", errNotYet, got)
		}
		return nil
	})
}

// TestMesosHostCommand: a command without an image runs on the node's own root file system as
// the user that it names, in processes of its own, with what it fetched in its sandbox, which
// holds its outputs and outlives its pod.
func TestMesosHostCommand(t *testing.T) {
	for _, driver := range []string{"cri", "native"} {
		t.Run(driver, func(t *testing.T) {
			h := machine(t)
			if driver == "native" {
				h = ownMachines(t, 1)[0]
				if err := bringUp(t.Context(), h, "--runtime", "native"); err != nil {
					t.Fatal(err)
				}
			}
			hostCommand(t, h)
		})
	}
}

func hostCommand(t *testing.T, h *cluster.Host) {
	k := newClient(t, h)
	script := `id -un; pwd; cat /etc/hostname >/dev/null; ls -d /proc/[0-9]* | wc -l; ./run; echo $MESOS_SANDBOX; echo bad >&2; echo "$$(id -u)"; exit 7`
	p := taskPod(t, "host", sandbox.Command{Shell: true, Value: script, User: "nobody"}, sandbox.URI{Value: "file:///bin/true", OutputFile: "run", Executable: true})
	dir := started(t, k, p)
	ended(t, k, "host", "Failed")
	if code := k.must("get", "pod", "host", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"); code != "7" {
		t.Errorf("the exit status is %s, want 7", code)
	}
	lines := strings.Split(k.must("logs", "host"), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == "bad" }) // of the other stream, whose place among these is nobody's promise
	if len(lines) < 5 || lines[0] != "nobody" || lines[1] != dir || lines[3] != dir {
		t.Errorf("it says %q, want nobody in %s", lines, dir)
	} else if len(lines[2]) > 1 {
		t.Errorf("it sees %s processes: not its own alone", lines[2])
	}
	await(t, h, 10*time.Second, "its outputs are in its sandbox", func() error {
		out, err := os.ReadFile(filepath.Join(dir, "stdout"))
		bad, err2 := os.ReadFile(filepath.Join(dir, "stderr"))
		if err != nil || err2 != nil || !strings.HasPrefix(string(out), "nobody\n") || string(bad) != "bad\n" {
			return fmt.Errorf("%w: %q, %v, %q, %v", errNotYet, out, err, bad, err2)
		}
		return nil
	})
	k.must("delete", "pod", "host")
	if to, err := filepath.EvalSymlinks(filepath.Join(filepath.Dir(dir), "latest")); err != nil || to != dir {
		t.Errorf("latest leads to %s, %v after the pod has gone, want %s", to, err, dir)
	}

	long := taskPod(t, "long", sandbox.Command{Shell: true, Value: "trap 'echo got it; exit 0' TERM; echo up; while :; do sleep 0.1; done"})
	dir = started(t, k, long)
	await(t, h, 60*time.Second, "it is up", func() error {
		if out, err := os.ReadFile(filepath.Join(dir, "stdout")); err != nil || string(out) != "up\n" {
			return fmt.Errorf("%w: %q, %v", errNotYet, out, err)
		}
		return nil
	})
	k.must("delete", "pod", "long")
	if out, err := os.ReadFile(filepath.Join(dir, "stdout")); err != nil || string(out) != "up\ngot it\n" {
		t.Errorf("its last words are %q, %v", out, err)
	}

	bad := taskPod(t, "bad", sandbox.Command{Value: "true"}, sandbox.URI{Value: "file:///no/such"})
	started(t, k, bad)
	ended(t, k, "bad", "Failed")
	if out := k.must("get", "pod", "bad", "-o", "jsonpath={.status.reason} {.status.message}"); !strings.HasPrefix(out, sandbox.ReasonFetch) || !strings.Contains(out, "/no/such") {
		t.Errorf("what cannot be fetched: %s", out)
	}
}
