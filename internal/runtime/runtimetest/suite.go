package runtimetest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// limit is how long one test may take; only a hanging runtime reaches it.
const limit = time.Minute

// Harness is a runtime under test.
type Harness struct {
	Runtime runtime.Runtime
	// Image is a reference that is here. Containers of it run what Behave says.
	Image string
	// Archive returns an archive that brings Imported, which is not here.
	Archive  func() io.Reader
	Imported string
	// LogDir is a folder for container logs. ReadLog returns what a log at that
	// path says; nil: the runtime writes none.
	LogDir  string
	ReadLog func(t *testing.T, path string) string
	// Kill ends a container's first process from outside, with SIGKILL.
	Kill func(t *testing.T, containerID string)
	// Limits returns what limits a running container: the bytes of its memory and
	// its microseconds of CPU time a period, as the kernel says; -1: nothing.
	Limits func(t *testing.T, containerID string) (memory, quota int64)
	// Address is what the network gives every sandbox; empty: none.
	Address string
	// CgroupParent is where sandboxes go; may be empty.
	CgroupParent string
}

// Run runs the whole suite. The runtime must hold nothing of ours before, and
// holds nothing afterwards.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"Lifecycle", testLifecycle},
		{"ExitCode", testExitCode},
		{"StopGraceful", testStopGraceful},
		{"StopKillsAfterGrace", testStopKills},
		{"KilledFromOutside", testKilled},
		{"Update", testUpdate},
		{"Idempotent", testIdempotent},
		{"SandboxTakesContainersAlong", testSandboxTakesContainers},
		{"List", testList},
		{"Errors", testErrors},
		{"Exec", testExec},
		{"Streams", testStreams},
		{"Stats", testStats},
		{"Images", testImages},
		{"Check", testCheck},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			b := &bench{Harness: h, ctx: ctx}
			c.test(t, b)
			b.cleanUp(t)
		})
	}
}

func testLifecycle(t *testing.T, b *bench) {
	s := b.sandbox(t, "lifecycle")
	at, err := b.Runtime.Addresses(b.ctx, s.id)
	if must(t, err); (len(at) > 0 || b.Address != "") && (len(at) != 1 || at[0].String() != b.Address) {
		t.Errorf("the sandbox has %v, want %q", at, b.Address)
	}
	id := b.create(t, s, "main", "serve", "hello")
	if c := b.container(t, id); c.State != runtime.Created || c.Name != "main" || !c.Started.IsZero() {
		t.Fatalf("after create: %+v", c)
	}
	b.serve(t, id)
	c := b.container(t, id)
	if c.State != runtime.Running || c.Started.IsZero() || !c.Finished.IsZero() {
		t.Fatalf("after start: %+v", c)
	}
	if !strings.HasSuffix(c.LogPath, "/main/0.log") {
		t.Errorf("log path %q", c.LogPath)
	}
	b.stop(t, id, limit)
	b.await(t, s, "exited", func() bool { return b.container(t, id).State == runtime.Exited })
	c = b.container(t, id)
	if c.ExitCode != 0 || c.Reason != "Completed" || c.Finished.Before(c.Started) {
		t.Errorf("after stop: %+v", c)
	}
	if b.ReadLog != nil {
		if log := b.ReadLog(t, c.LogPath); !strings.Contains(log, "stdout F serving hello") || !strings.Contains(log, "stdout F ending") {
			t.Errorf("log: %q", log)
		}
	}
	must(t, b.Runtime.RemoveContainer(b.ctx, id))
	if _, err := b.Runtime.Container(b.ctx, id); !kind.Is(err, kind.NotFound) {
		t.Errorf("a removed container: %v, want not found", err)
	}
}

func testExitCode(t *testing.T, b *bench) {
	s := b.sandbox(t, "exit")
	for _, code := range []int32{0, 3} {
		id := b.createAttempt(t, s, "main", uint32(code), "exit", string('0'+rune(code)))
		b.start(t, id)
		b.await(t, s, "exited", func() bool { return b.container(t, id).State == runtime.Exited })
		want := "Completed"
		if code != 0 {
			want = "Error"
		}
		if c := b.container(t, id); c.ExitCode != code || c.Reason != want {
			t.Errorf("exit %d: %+v", code, c)
		}
	}
}

func testStopGraceful(t *testing.T, b *bench) {
	s := b.sandbox(t, "graceful")
	id := b.create(t, s, "main", "serve")
	b.serve(t, id)
	begun := time.Now()
	b.stop(t, id, limit)
	if c := b.container(t, id); c.State != runtime.Exited || c.ExitCode != 0 {
		t.Errorf("after stop: %+v", c)
	}
	if took := time.Since(begun); took > limit/2 {
		t.Errorf("a container that ends on the signal took %v to stop", took)
	}
}

func testStopKills(t *testing.T, b *bench) {
	s := b.sandbox(t, "stubborn")
	id := b.create(t, s, "main", "stubborn")
	b.serve(t, id)
	b.stop(t, id, time.Second)
	if c := b.container(t, id); c.State != runtime.Exited || c.ExitCode != 137 {
		t.Errorf("after stop: %+v", c)
	}
}

func testKilled(t *testing.T, b *bench) {
	s := b.sandbox(t, "killed")
	id := b.create(t, s, "main", "serve")
	b.start(t, id)
	b.Kill(t, id)
	b.await(t, s, "exited", func() bool { return b.container(t, id).State == runtime.Exited })
	if c := b.container(t, id); c.ExitCode != 137 {
		t.Errorf("after kill: %+v", c)
	}
	// The sandbox lives on: the same name starts again under the next attempt.
	again := b.createAttempt(t, s, "main", 1, "serve")
	b.start(t, again)
	if c := b.container(t, again); c.State != runtime.Running || c.Attempt != 1 {
		t.Errorf("started again: %+v", c)
	}
}

func testUpdate(t *testing.T, b *bench) {
	s := b.sandbox(t, "update")
	cfg := b.config("main", 0, "serve")
	cfg.Resources = runtime.Resources{CPUShares: 102, CPUQuota: 10_000, CPUPeriod: 100_000, MemoryBytes: 64 << 20, HugePages: map[string]int64{"2MB": 0}}
	id, err := b.Runtime.CreateContainer(b.ctx, s.id, s.cfg, cfg)
	must(t, err)
	more := runtime.Resources{CPUShares: 204, CPUQuota: 20_000, CPUPeriod: 100_000, MemoryBytes: 96 << 20}
	if err := b.Runtime.UpdateContainer(b.ctx, id, more); !kind.Is(err, kind.NotFound) {
		t.Errorf("one that does not run yet: %v, want not found", err)
	}
	b.serve(t, id)
	less := runtime.Resources{CPUShares: 51, CPUQuota: 5_000, CPUPeriod: 100_000, MemoryBytes: 48 << 20}
	for _, want := range []runtime.Resources{cfg.Resources, more, less, less} {
		if want.CPUShares != cfg.Resources.CPUShares {
			must(t, b.Runtime.UpdateContainer(b.ctx, id, want))
		}
		if memory, quota := b.Limits(t, id); memory != want.MemoryBytes || quota != want.CPUQuota {
			t.Errorf("limits are %d bytes, %d us, want %d, %d", memory, quota, want.MemoryBytes, want.CPUQuota)
		}
	}
	if c := b.container(t, id); c.State != runtime.Running || c.Attempt != 0 {
		t.Errorf("after updates: %+v", c)
	}
	b.stop(t, id, 0)
	if err := b.Runtime.UpdateContainer(b.ctx, id, more); !kind.Is(err, kind.NotFound) {
		t.Errorf("one that has ended: %v, want not found", err)
	}
	if err := b.Runtime.UpdateContainer(b.ctx, "no-such-container", more); !kind.Is(err, kind.NotFound) {
		t.Errorf("no container: %v, want not found", err)
	}
}

func testIdempotent(t *testing.T, b *bench) {
	s := b.sandbox(t, "idempotent")
	id := b.create(t, s, "main", "serve")
	for range 2 {
		must(t, b.Runtime.StartContainer(b.ctx, id))
	}
	for range 2 {
		must(t, b.Runtime.StopContainer(b.ctx, id, 0))
	}
	for range 2 {
		must(t, b.Runtime.RemoveContainer(b.ctx, id))
	}
	must(t, b.Runtime.StopContainer(b.ctx, id, 0))
	for range 2 {
		must(t, b.Runtime.StopSandbox(b.ctx, s.id))
	}
	for range 2 {
		must(t, b.Runtime.RemoveSandbox(b.ctx, s.id))
	}
	must(t, b.Runtime.StopSandbox(b.ctx, s.id))
}

func testSandboxTakesContainers(t *testing.T, b *bench) {
	s := b.sandbox(t, "together")
	id := b.create(t, s, "main", "stubborn")
	b.start(t, id)
	must(t, b.Runtime.StopSandbox(b.ctx, s.id))
	b.await(t, s, "not ready", func() bool {
		got := b.find(t, s.id)
		return got != nil && !got.Ready && len(got.Containers) == 1 && got.Containers[0].State == runtime.Exited
	})
	must(t, b.Runtime.RemoveSandbox(b.ctx, s.id))
	if b.find(t, s.id) != nil {
		t.Error("a removed sandbox is listed")
	}
	if _, err := b.Runtime.Container(b.ctx, id); !kind.Is(err, kind.NotFound) {
		t.Errorf("container of a removed sandbox: %v, want not found", err)
	}
}

func testErrors(t *testing.T, b *bench) {
	s := b.sandbox(t, "errors")
	if _, err := b.Runtime.RunSandbox(b.ctx, s.cfg); !kind.Is(err, kind.Exists) {
		t.Errorf("the same sandbox again: %v, want exists", err)
	}
	cfg := b.config("main", 0, "serve")
	cfg.Image = "sha256:" + strings.Repeat("0", 64)
	if _, err := b.Runtime.CreateContainer(b.ctx, s.id, s.cfg, cfg); !kind.Is(err, kind.NotFound) {
		t.Errorf("an image that is not here: %v, want not found", err)
	}
	b.create(t, s, "main", "serve")
	if _, err := b.Runtime.CreateContainer(b.ctx, s.id, s.cfg, b.config("main", 0, "serve")); !kind.Is(err, kind.Exists) {
		t.Errorf("the same container again: %v, want exists", err)
	}
	if _, err := b.Runtime.CreateContainer(b.ctx, "no-such-sandbox", s.cfg, b.config("other", 0, "serve")); !kind.Is(err, kind.NotFound) {
		t.Errorf("a container in no sandbox: %v, want not found", err)
	}
	if err := b.Runtime.StartContainer(b.ctx, "no-such-container"); !kind.Is(err, kind.NotFound) {
		t.Errorf("starting no container: %v, want not found", err)
	}
	if _, err := b.Runtime.Addresses(b.ctx, "no-such-sandbox"); !kind.Is(err, kind.NotFound) {
		t.Errorf("the addresses of no sandbox: %v, want not found", err)
	}
	if _, err := b.Runtime.Image(b.ctx, "localhost/no-such:image"); !kind.Is(err, kind.NotFound) {
		t.Errorf("an image that is not here: %v, want not found", err)
	}
}

func testExec(t *testing.T, b *bench) {
	s := b.sandbox(t, "exec")
	id := b.create(t, s, "main", "serve")
	b.start(t, id)
	out, _, code, err := b.Runtime.ExecSync(b.ctx, id, []string{Prog, "print", "hello", "there"}, limit)
	if err != nil || code != 0 || string(out) != "hello there\n" {
		t.Errorf("exec print: %q, %d, %v", out, code, err)
	}
	if _, _, code, err = b.Runtime.ExecSync(b.ctx, id, []string{Prog, "exit", "4"}, limit); err != nil || code != 4 {
		t.Errorf("exec exit 4: %d, %v", code, err)
	}
	if _, _, _, err = b.Runtime.ExecSync(b.ctx, id, []string{Prog, "stubborn"}, time.Second); !kind.Is(err, kind.Timeout) {
		t.Errorf("an exec that does not end: %v, want timeout", err)
	}
}

func testStreams(t *testing.T, b *bench) {
	s := b.sandbox(t, "streams")
	id := b.create(t, s, "main", "serve")
	b.start(t, id)
	if u, err := b.Runtime.Exec(b.ctx, id, runtime.StreamOptions{Cmd: []string{Prog, "print"}, Stdout: true}); err != nil || u.Host == "" {
		t.Errorf("exec: %v, %v", u, err)
	}
	if u, err := b.Runtime.Attach(b.ctx, id, runtime.StreamOptions{Stdout: true}); err != nil || u.Host == "" {
		t.Errorf("attach: %v, %v", u, err)
	}
	if u, err := b.Runtime.PortForward(b.ctx, s.id, []int32{80}); err != nil || u.Host == "" {
		t.Errorf("port forward: %v, %v", u, err)
	}
	must(t, b.Runtime.ReopenLog(b.ctx, id))
}

func testImages(t *testing.T, b *bench) {
	if _, err := b.Runtime.Image(b.ctx, b.Imported); !kind.Is(err, kind.NotFound) {
		t.Fatalf("before import: %v, want not found", err)
	}
	for range 2 { // twice: importing again changes nothing
		names, err := b.Runtime.Import(b.ctx, b.Archive())
		if err != nil || len(names) != 1 || names[0] != b.Imported {
			t.Fatalf("import: %v, %v, want %s", names, err, b.Imported)
		}
	}
	img, err := b.Runtime.Image(b.ctx, b.Imported)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(img.ID, "sha256:") || img.SizeBytes == 0 || len(img.Names) != 1 || img.Names[0] != b.Imported || len(img.Digests) != 0 {
		t.Errorf("image: %+v; no registry gave it a digest", img)
	}
	if byID, err := b.Runtime.Image(b.ctx, img.ID); err != nil || byID.ID != img.ID {
		t.Errorf("image by ID: %+v, %v", byID, err)
	}
	all, err := b.Runtime.ListImages(b.ctx)
	must(t, err)
	found := 0
	for _, i := range all {
		if i.ID == img.ID {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the image is listed %d times", found)
	}
	capacity, used, err := b.Runtime.ImageFS(b.ctx)
	if err != nil || used <= 0 || capacity < used {
		t.Errorf("image file system: capacity %d, used %d, %v", capacity, used, err)
	}
	for range 2 {
		must(t, b.Runtime.RemoveImage(b.ctx, img.ID))
	}
	if _, err := b.Runtime.Image(b.ctx, b.Imported); !kind.Is(err, kind.NotFound) {
		t.Errorf("after removal: %v, want not found", err)
	}
	if names, err := b.Runtime.Import(b.ctx, bytes.NewReader(nil)); err == nil {
		t.Errorf("an empty archive brought %v", names)
	}
}

func testCheck(t *testing.T, b *bench) { must(t, b.Runtime.Check(b.ctx)) }
