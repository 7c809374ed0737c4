package containerd_test

import (
	"context"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/runtime/containerd"
	"trireme/internal/runtime/runtimetest"
)

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }

// stub makes a folder of binaries that only complain.
func stub(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		script := "#!/bin/sh\necho 'starting' >&2\necho 'the database is locked' >&2\nexit 3\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestContainerdThatDoesNotStart(t *testing.T) {
	root, err := os.MkdirTemp("/tmp", "trn")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	cfg := containerd.Config{
		Root: root, BinDir: stub(t), CNIBinDirs: []string{root + "/bin"}, CNIConfDir: root + "/conf", PauseImage: pauseImage, Log: logTo(testWriter{t}),
	}
	c, err := containerd.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.Run(ctx); err != nil { // it tries until it is told to stop
		t.Errorf("Run: %v", err)
	}
	err = c.WaitReady(ctx)
	if !kind.Is(err, kind.Unavailable) || !strings.Contains(err.Error(), "the database is locked") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("WaitReady: %v; want what containerd said last", err)
	}

	cfg.BinDir = root + "/none"
	if c, err = containerd.New(cfg); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); !kind.Is(err, kind.Invalid) {
		t.Errorf("Run without binaries: %v, want invalid", err)
	}
}

func TestEventsTellThePod(t *testing.T) {
	n := newNode(t)
	defer n.run(t)()
	r := n.dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events := make(chan types.UID, 64)
	go func() {
		defer close(events)
		first := true
		for uid, err := range r.Events(ctx) {
			if err != nil {
				return
			}
			if uid != "" || first {
				first = false
				events <- uid // without the later calls to list again
			}
		}
	}()
	if first := <-events; first != "" {
		t.Errorf("the first event is %q, want none", first)
	}
	expect := func(what string) {
		t.Helper()
		select {
		case uid := <-events:
			if uid != "uid-watched" {
				t.Errorf("%s: event of %q", what, uid)
			}
		case <-ctx.Done():
			t.Fatalf("%s: no event", what)
		}
	}
	p := n.pod(t, r, "watched", nil, "serve")
	for _, what := range []string{"sandbox created", "sandbox started", "container created", "container started"} {
		expect(what)
	}
	for what, act := range map[string]func() error{
		"container stopped": func() error { return r.StopContainer(ctx, p.container, 0) },
	} {
		if err := act(); err != nil {
			t.Fatal(err)
		}
		expect(what)
	}
	if err := r.RemoveContainer(ctx, p.container); err != nil {
		t.Fatal(err)
	}
	expect("container removed")
	if err := r.StopSandbox(ctx, p.sandbox); err != nil {
		t.Fatal(err)
	}
	expect("sandbox stopped")
	if err := r.RemoveSandbox(ctx, p.sandbox); err != nil {
		t.Fatal(err)
	}
	expect("sandbox removed")
}

func TestReopenLog(t *testing.T) { eachDriver(t, testReopenLog) }

func testReopenLog(t *testing.T, n *node) {
	defer n.run(t)()
	r := n.dial(t)
	p := n.pod(t, r, "rotated", nil, "serve")
	path := n.root + "/logs/rotated/main.log"
	if _, _, _, err := r.ExecSync(t.Context(), p.container, []string{runtimetest.Prog, "await"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := r.ReopenLog(t.Context(), p.container); err != nil {
		t.Fatal(err)
	}
	if err := r.StopContainer(t.Context(), p.container, time.Minute); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(path + ".1")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The first line was written at some time around the rotation.
	if both := string(old) + string(fresh); strings.Count(both, "serving") != 1 || !strings.Contains(string(fresh), "ending") {
		t.Errorf("before %q, after %q", old, fresh)
	}
}

func TestContainersShareWhatThePodShares(t *testing.T) {
	n := newNode(t)
	defer n.run(t)()
	r := n.dial(t)
	share := func(s *runtime.SandboxConfig, _ *runtime.ContainerConfig) { s.ShareProcesses = true }
	shared, alone := n.pod(t, r, "shared", share, "serve"), n.pod(t, r, "alone", nil, "serve")
	pidSpace := func(p pod) string {
		link, err := os.Readlink("/proc/" + itoa(n.pid(t, p.container)) + "/ns/pid")
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	ofSandbox := func(p pod) string {
		link, err := os.Readlink("/proc/" + itoa(n.pid(t, p.sandbox)) + "/ns/pid")
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	if pidSpace(shared) != ofSandbox(shared) {
		t.Error("a pod that shares processes has two process spaces")
	}
	if pidSpace(alone) == ofSandbox(alone) {
		t.Error("a pod that does not share processes has one process space")
	}
}
