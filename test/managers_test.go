package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/test/cluster"
)

// TestManagers: two machines join as managers, every one answers for the cluster, and when the
// one that leads is killed another takes over: containers go on, nodes come back by themselves,
// what was acknowledged is there. The one that was killed comes back, and is taken out.
func TestManagers(t *testing.T) {
	hosts := ownMachines(t, 4)
	a, worker := hosts[0], hosts[3]
	if err := bringUp(t.Context(), a, "--grace", "3s"); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts[1:3] {
		if err := h.JoinManager(t.Context(), a, "--grace", "3s"); err != nil {
			t.Fatal(err)
		}
		awaitManagers(t, a, h.Name+" Follower")
	}
	join(t, hosts[1], worker)
	tar, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hosts[1].Trireme(t.Context(), "image", "push", tar); err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, h: hosts[2], namespace: "default"} // a follower answers
	k.must("create", "configmap", "before", "--from-literal=a=b")
	k.must("run", "web", "--image="+busybox, "--overrides", `{"spec":{"nodeName":"`+worker.Name+`"}}`, "--command", "--", "sleep", "1000")
	k.must("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
	rotated := ""
	t.Run("docker", func(t *testing.T) {
		d := newDocker(t, hosts[2])
		d.says(a.Name+" Leader", "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}")
		d.says(hosts[1].Name+" Reachable", "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}")
		first := d.must("swarm", "join-token", "--quiet", "manager")
		if rotated = d.must("swarm", "join-token", "--quiet", "--rotate", "manager"); rotated == first || !strings.HasPrefix(rotated, "TRIREME-MANAGER-1-") {
			t.Errorf("the token for managers is %s after %s", rotated, first)
		}
	})

	began := time.Now()
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, hosts[2], 20*time.Second, "another manager takes over", func() error {
		_, err := hosts[2].Kubectl(t.Context(), "create", "configmap", "after", "--request-timeout=2s", "--from-literal=a=b")
		return err
	})
	t.Logf("another manager wrote %s after the kill", time.Since(began).Round(time.Millisecond))
	k.must("get", "configmap", "before")
	if restarts := k.must("get", "pod", "web", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); restarts != "0" {
		t.Errorf("the pod was started again %s times", restarts)
	}
	await(t, hosts[2], 20*time.Second, "the worker comes back", func() error {
		out, err := hosts[2].Kubectl(t.Context(), "exec", "web", "--", "echo", "alive")
		if err == nil && strings.TrimSpace(out) != "alive" {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
	awaitManagers(t, hosts[1], a.Name+" Follower, unreachable") // it has a vote still
	if out, err := hosts[1].Trireme(t.Context(), "status"); err != nil || !strings.Contains(out, rotated) {
		t.Errorf("the rotated token %s is lost: %v\n%s", rotated, err, out)
	}
	if err := a.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := hosts[1].NodeIs(t.Context(), a, "True"); err != nil {
		t.Fatal(err)
	}
	awaitManagers(t, hosts[1], a.Name+" Follower "+a.Address)
	if out, err := hosts[1].Trireme(t.Context(), "manager", "rm", a.Name); err == nil || !strings.Contains(out+err.Error(), "--force") {
		t.Errorf("two of three managers would be left: %s, %v", out, err)
	}
	if out, err := hosts[1].Trireme(t.Context(), "manager", "rm", "--force", a.Name); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	k.must("create", "configmap", "last", "--from-literal=a=b")
	select {
	case <-a.Ended():
	case <-time.After(20 * time.Second):
		t.Error("the process of a manager that was taken out goes on")
	}
	if tail := a.LogTail(5); !strings.Contains(tail, "taken out") {
		t.Errorf("it ended with %s", tail)
	}
}

// threeManagers returns a cluster of three managers without nodes; the first leads.
func threeManagers(t *testing.T) []*cluster.Host {
	t.Helper()
	hosts := ownMachines(t, 3)
	if err := hosts[0].Start("up", "--no-agent"); err != nil {
		t.Fatal(err)
	}
	for i, h := range hosts {
		if i > 0 {
			if err := h.JoinManager(t.Context(), hosts[0], "--no-agent"); err != nil {
				t.Fatal(err)
			}
		}
		state := " Follower"
		if i == 0 {
			state = " Leader"
		}
		awaitManagers(t, hosts[0], h.Name+state)
	}
	return hosts
}

// TestManagersPause: a leader that is stopped, and woken after another was chosen, neither answers
// with what it had nor writes: what was asked of it meanwhile is not answered, or by the new one.
func TestManagersPause(t *testing.T) {
	hosts := threeManagers(t)
	a, b := hosts[0], hosts[1]
	k := &client{t: t, h: b, namespace: "default"}
	k.must("create", "configmap", "v", "--from-literal=v=old")
	maps := clientset(t, a).CoreV1().ConfigMaps("default")
	v, err := maps.Get(t.Context(), "v", metav1.GetOptions{}) // the connection is there from now on
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(a.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(a.Pid(), syscall.SIGCONT) }()
	await(t, b, 20*time.Second, "another manager writes", func() error {
		_, err := b.Kubectl(t.Context(), "patch", "configmap", "v", "--request-timeout=2s", "-p", `{"data":{"v":"new"}}`)
		return err
	})
	type answer struct {
		v   *corev1.ConfigMap
		err error
	}
	read, wrote := make(chan answer, 1), make(chan answer, 1)
	go func() {
		got, err := maps.Get(t.Context(), "v", metav1.GetOptions{})
		read <- answer{got, err}
	}()
	go func() {
		v.Data["v"] = "stale"
		got, err := maps.Update(t.Context(), v, metav1.UpdateOptions{}) // of the revision before
		wrote <- answer{got, err}
	}()
	k.must("get", "configmap", "v") // what was asked is under way meanwhile
	if err := syscall.Kill(a.Pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got.err == nil && got.v.Data["v"] != "new" {
		t.Errorf("the woken leader answered with %q", got.v.Data["v"])
	}
	if got := <-wrote; got.err == nil {
		t.Errorf("a write of an old revision was taken: %v", got.v.Data)
	}
	if v := k.must("get", "configmap", "v", "-o", "jsonpath={.data.v}"); v != "new" {
		t.Errorf("what was written meanwhile became %q", v)
	}
	await(t, a, 20*time.Second, "the first answers again", func() error {
		out, err := a.Kubectl(t.Context(), "get", "configmap", "v", "-o", "jsonpath={.data.v}")
		if err == nil && out != "new" {
			t.Errorf("it answers %q", out)
		}
		return err
	})
}

// TestManagersSurvivor: where most managers are lost for good one that is left goes on alone.
func TestManagersSurvivor(t *testing.T) {
	hosts := threeManagers(t)
	last := hosts[2]
	k := &client{t: t, h: last, namespace: "default"}
	if err := hosts[1].Kill(); err != nil { // from now on every write needs the survivor
		t.Fatal(err)
	}
	k.must("create", "configmap", "kept", "--from-literal=a=b")
	k.must("create", "configmap", "newest", "--from-literal=a=b") // with it the survivor learns that the other is committed
	for _, h := range []*cluster.Host{hosts[0], last} {
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := last.Start("up", "--no-agent", "--force-new-cluster"); err != nil {
		t.Fatal(err)
	}
	awaitManagers(t, last, last.Name+" Leader")
	k.must("get", "configmap", "kept")
	if out, err := last.Trireme(t.Context(), "manager", "ls"); err != nil || strings.Contains(out, hosts[0].Name) {
		t.Errorf("the lost ones are there still: %v\n%s", err, out)
	}
	k.must("create", "configmap", "next", "--from-literal=a=b")
}

// awaitManagers waits until a line of `trireme manager ls` begins with the words.
func awaitManagers(t *testing.T, h *cluster.Host, words string) {
	t.Helper()
	await(t, h, 30*time.Second, words, func() error {
		out, err := h.Trireme(t.Context(), "manager", "ls")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if strings.HasPrefix(strings.Join(strings.Fields(line), " "), words) {
				return nil
			}
		}
		return fmt.Errorf("%s", out)
	})
}
