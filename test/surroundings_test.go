package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trireme/test/cluster"
)

// TestBadSurroundings: each says in one line what is wrong and what to do, and
// exits with a code other than 0.
func TestBadSurroundings(t *testing.T) {
	h := ownMachines(t, 1)[0]
	t.Run("port taken", func(t *testing.T) {
		err := h.Within(func() error {
			l, err := net.Listen("tcp", ":6443")
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		refuses(t, h, nil, "port 6443 is taken", "--api-listen")
	})
	t.Run("not root", func(t *testing.T) {
		cmd := h.Command(t.Context(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary(), "up", "--root", "/tmp/tri-none")
		refuses(t, h, cmd, "not root", "sudo")
	})
	t.Run("bad flag", func(t *testing.T) {
		refuses(t, h, h.Command(t.Context(), binary(), "up", "--pod-cidr", "10.0.0.0/33"), "podCIDR", "10.0.0.0/33")
	})
	t.Run("half an issuer", func(t *testing.T) {
		refuses(t, h, h.Command(t.Context(), binary(), "up", "--root", h.Root, "--node", h.Name, "--oidc-issuer-url", "https://i.example"),
			"manager.authentication.oidc.clientID", "--oidc-client-id")
	})
	t.Run("unknown setting", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte("rooot: /x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		refuses(t, h, h.Command(t.Context(), binary(), "up", "--config", file), `unknown field "rooot"`)
	})
	t.Run("no cgroup controller", func(t *testing.T) {
		cmd := h.Command(t.Context(), "unshare", "--mount", "sh", "-c",
			"mount -t tmpfs none /sys/fs/cgroup && exec "+binary()+" up --root "+h.Root)
		refuses(t, h, cmd, "cgroup", "mount")
	})
	t.Run("disk full", func(t *testing.T) {
		small, err := os.MkdirTemp("", "tri-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(small) })
		if err := syscall.Mount("none", small, "tmpfs", 0, "size=8m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(small, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		refuses(t, h, h.Command(t.Context(), binary(), "up", "--root", small), "space", small)
	})
	t.Run("no cluster", func(t *testing.T) {
		refuses(t, h, h.Command(t.Context(), binary(), "ps"), "trireme up")
	})
}

// refuses runs a command line (nil: up) that must fail soon and say all of want
// on its last line.
func refuses(t *testing.T, h *cluster.Host, cmd *exec.Cmd, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if cmd == nil {
		cmd = h.Command(ctx, binary(), "up", "--root", h.Root, "--node", h.Name)
	}
	cmd.WaitDelay = time.Second
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last := lines[len(lines)-1]
	for _, w := range want {
		if !strings.Contains(last, w) {
			t.Errorf("%v: the last line does not say %q: %s", cmd.Args, w, last)
		}
	}
}

// TestContainerdDead: the node is not ready while its runtime is away, its
// containers go on, and it comes back by itself.
func TestContainerdDead(t *testing.T) {
	h := ownMachines(t, 1)[0]
	if err := bringUp(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, h: h, namespace: "default"}
	k.apply(webPods)
	k.must("rollout", "status", "deployment/web", "--timeout=60s")
	uid := podUID(k, k.must("get", "pods", "-o", "jsonpath={.items[0].metadata.name}"))
	before := pidsOf(t, uid, "web")
	for range 2 {
		await(t, h, 20*time.Second, "containerd runs", h.KillContainerd)
		await(t, h, 30*time.Second, "the node takes a new pod", func() error {
			if err := h.Ready(t.Context()); err != nil {
				return err
			}
			_, err := k.run(t.Context(), "", "rollout", "status", "deployment/web", "--timeout=5s")
			return err
		})
	}
	if after := pidsOf(t, uid, "web"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the container was %v and is %v", before, after)
	}
	k.must("scale", "deployment/web", "--replicas=3")
	k.must("rollout", "status", "deployment/web", "--timeout=60s")
}

// TestImageMissing: the pod says so, and is retried.
func TestImageMissing(t *testing.T) {
	k := newClient(t, machine(t))
	k.must("run", "absent", "--image=trireme.local/absent:1", "--image-pull-policy=Never")
	k.must("run", "unreachable", "--image=127.0.0.1:1/absent:1")
	for pod, reason := range map[string]string{"absent": "ErrImageNeverPull", "unreachable": "ImagePullBackOff"} {
		await(t, k.h, 30*time.Second, pod+" says why it waits", func() error {
			got := k.must("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
			if got != reason {
				return fmt.Errorf("reason %q, want %q", got, reason)
			}
			return nil
		})
	}
}
