package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"trireme/test/cluster"
)

// TestMainJob is what make up shows: three replicas behind one port, on the
// node's address and on loopback, that survive being killed.
func TestMainJob(t *testing.T) {
	h := machine(t)
	k := newClient(t, h)
	demo, err := os.ReadFile("../examples/demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	k.apply(string(demo))
	k.must("rollout", "status", "deployment/demo", "--timeout=60s")
	allAnswer(t, h, k, 30*time.Second)

	t.Run("a killed pod is replaced and traffic follows", func(t *testing.T) {
		pod := firstPod(k)
		kill(t, podUID(k, pod), "")
		k.must("delete", "pod", pod, "--grace-period=0", "--force")
		allAnswer(t, h, k, 5*time.Second)
	})
	t.Run("a killed container restarts with back-off", func(t *testing.T) {
		pod := firstPod(k)
		killAndAwait := func(restarts int) {
			kill(t, podUID(k, pod), "web")
			await(t, h, 30*time.Second, "the container is restarted", func() error {
				n := k.must("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
				if n != strconv.Itoa(restarts) {
					return fmt.Errorf("restartCount is %s", n)
				}
				return nil
			})
		}
		killAndAwait(1)
		kill(t, podUID(k, pod), "web")
		await(t, h, 10*time.Second, "the container backs off", func() error {
			if r := k.must("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}"); r != "CrashLoopBackOff" {
				return fmt.Errorf("waits for %q", r)
			}
			return nil
		})
		await(t, h, 30*time.Second, "the container is started again", func() error {
			if n := k.must("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); n != "2" {
				return errNotYet
			}
			return nil
		})
		allAnswer(t, h, k, 10*time.Second)
	})
}

// allAnswer waits until three ready replicas answer, and nothing else does.
func allAnswer(t *testing.T, h *cluster.Host, k *client, limit time.Duration) {
	t.Helper()
	started := time.Now()
	await(t, h, limit, "three replicas answer on the mesh port", func() error {
		ready := map[string]bool{}
		for _, name := range strings.Fields(k.must("get", "pods", "-l", "app=demo", "-o", `jsonpath={range .items[?(@.status.containerStatuses[0].ready==true)]}{.metadata.name} {end}`)) {
			ready[name] = true
		}
		seen := map[string]bool{}
		for i := range 24 {
			url := "http://127.0.0.1:8088/"
			if i%2 == 1 {
				url = "http://" + h.Address + ":8088/"
			}
			body, err := curl(t.Context(), h, url)
			if err != nil {
				return err
			}
			name := podName.FindString(body)
			if !ready[name] {
				return fmt.Errorf("%q answered, ready are %v", body, ready)
			}
			seen[name] = true
		}
		if len(seen) != 3 {
			return fmt.Errorf("%v answered of %v", seen, ready)
		}
		return nil
	})
	t.Logf("all answered after %v", time.Since(started))
}

var podName = regexp.MustCompile(`demo-[a-z0-9]+-[a-z0-9]{5}`)

func firstPod(k *client) string {
	k.t.Helper()
	return k.must("get", "pods", "-l", "app=demo", "-o", "jsonpath={.items[0].metadata.name}")
}

func podUID(k *client, pod string) string {
	k.t.Helper()
	return k.must("get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
}

// kill sends SIGKILL to every process of a pod, or to those that run a binary
// of the given name.
func kill(t *testing.T, uid, name string) {
	t.Helper()
	pids := pidsOf(t, uid, name)
	if len(pids) == 0 {
		t.Fatalf("pod %s has no process %s", uid, name)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
	}
}

// pidsOf finds a pod's processes by their cgroup.
func pidsOf(t *testing.T, uid, name string) []int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(b), uid) {
			continue // it ended, or is none of the pod's
		}
		dir := filepath.Dir(p)
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil || (name != "" && strings.TrimSpace(string(comm)) != name) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
