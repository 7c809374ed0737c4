package containerd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/remotecommand"

	"trireme/internal/runtime"
	"trireme/internal/runtime/runtimetest"
	"trireme/internal/runtime/shim"
)

// shimPid waits for a shim other than the one given and returns it.
func (n *node) shimPid(t *testing.T, not int) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		hello, err := shim.Client{Dir: shim.DirOf(n.root)}.Hello(ctx)
		if err == nil && hello.Pid != not {
			return hello.Pid
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no shim: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
}

// nativeNode is a node with the native driver.
func nativeNode(t *testing.T) *node {
	n := newNode(t)
	n.driver = "native"
	return n
}

func TestShimIsKilledAndContainersStay(t *testing.T) {
	n := nativeNode(t)
	defer n.run(t)()
	r := n.dial(t)
	steady, short := n.pod(t, r, "steady", nil, "serve"), n.pod(t, r, "short", nil, "serve")
	talker := n.pod(t, r, "talker", nil, "flood")
	terminal := n.pod(t, r, "terminal", func(_ *runtime.SandboxConfig, c *runtime.ContainerConfig) { c.TTY, c.Stdin = true, true }, "cat")
	reader := n.pod(t, r, "reader", func(_ *runtime.SandboxConfig, c *runtime.ContainerConfig) { c.Stdin = true }, "cat")
	for _, p := range []pod{steady, short} {
		if _, _, _, err := r.ExecSync(t.Context(), p.container, []string{runtimetest.Prog, "await"}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	pid, old := n.pid(t, steady.container), n.shimPid(t, 0)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// It ends while nobody looks.
	if err := syscall.Kill(n.pid(t, short.container), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	n.shimPid(t, old)
	if c := awaitExit(t, r, short.container); c.ExitCode != 0 || c.Reason != "Completed" {
		t.Errorf("ended without a shim: %+v", c)
	}
	if c, err := r.Container(t.Context(), talker.container); err != nil || c.State != runtime.Running {
		t.Errorf("a container that writes all the time: %+v, %v", c, err)
	}
	for name, p := range map[string]pod{"terminal": terminal, "reader": reader} {
		n.echoes(t, r, name, p)
	}
	if now := n.pid(t, steady.container); now != pid {
		t.Errorf("process %d, was %d", now, pid)
	}
	if out, _, _, err := r.ExecSync(t.Context(), steady.container, []string{runtimetest.Prog, "print", "here"}, time.Minute); err != nil || string(out) != "here\n" {
		t.Errorf("exec: %q, %v", out, err)
	}
	if err := r.StopContainer(t.Context(), steady.container, time.Minute); err != nil {
		t.Fatal(err)
	}
	if c := awaitExit(t, r, steady.container); c.ExitCode != 0 {
		t.Errorf("stopped through a later shim: %+v", c)
	}
	b, err := os.ReadFile(n.root + "/logs/steady/main.log")
	if err != nil || !strings.Contains(string(b), "serving") || !strings.Contains(string(b), "ending") {
		t.Errorf("log over two shims: %q, %v", b, err)
	}
	if err := r.StopContainer(t.Context(), talker.container, 0); err != nil {
		t.Error(err)
	}
	if c := awaitExit(t, r, talker.container); c.ExitCode != 137 {
		t.Errorf("killed through a later shim: %+v", c)
	}
}

// echoes types a line into a container that copies its input, and waits for it.
func (n *node) echoes(t *testing.T, r runtime.Runtime, name string, p pod) {
	t.Helper()
	u, err := r.Attach(t.Context(), p.container, runtime.StreamOptions{Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	in, keys := io.Pipe()
	out, echo := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		err := spdy(t, u).StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: echo, Tty: name == "terminal"})
		echo.CloseWithError(fmt.Errorf("attach ended: %w", err))
	}()
	go func() { _, _ = io.WriteString(keys, "typed "+name+"\n") }()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "typed "+name {
		t.Errorf("%s: %q, %v", name, line, err)
	}
}

// TestDriverIsReplaced: a new agent finds what runs, and what ended meanwhile.
func TestDriverIsReplaced(t *testing.T) {
	n := nativeNode(t)
	stop := n.run(t)
	r := n.dial(t)
	share := func(s *runtime.SandboxConfig, _ *runtime.ContainerConfig) { s.ShareProcesses = true }
	steady, short := n.pod(t, r, "steady", share, "serve"), n.pod(t, r, "short", nil, "serve")
	if _, _, _, err := r.ExecSync(t.Context(), short.container, []string{runtimetest.Prog, "await"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	pid := n.pid(t, steady.container)
	n.quit()
	stop() // containerd too
	if err := syscall.Kill(n.pid(t, short.container), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	defer n.run(t)()
	r = n.dial(t)
	if c := awaitExit(t, r, short.container); c.ExitCode != 0 || c.Finished.IsZero() {
		t.Errorf("ended between two agents: %+v", c)
	}
	if err := r.RemoveSandbox(t.Context(), short.sandbox); err != nil {
		t.Fatal(err)
	}
	n.still(t, r, steady, pid)
	// The process that holds the process space ends: the sandbox is ready no more.
	if err := syscall.Kill(n.pid(t, steady.sandbox), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, err := range r.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all, err := r.List(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("listed %+v, %v", all, err)
		}
		if !all[0].Ready {
			break
		}
	}
	if err := r.StopSandbox(t.Context(), steady.sandbox); err != nil {
		t.Error(err)
	}
}

func TestContainersRunWithoutContainerd(t *testing.T) {
	n := nativeNode(t)
	stop := n.run(t)
	r := n.dial(t)
	n.pod(t, r, "first", nil, "serve") // brings the image's layers into memory
	c, err := r.Container(t.Context(), func() string {
		all, err := r.List(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("listed %v, %v", all, err)
		}
		return all[0].Containers[0].ID
	}())
	if err != nil {
		t.Fatal(err)
	}
	stop()
	n.pod(t, r, "second", func(_ *runtime.SandboxConfig, cfg *runtime.ContainerConfig) { cfg.Image = c.ImageID }, "serve")
}
