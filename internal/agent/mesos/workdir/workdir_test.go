package workdir

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object/sandbox"
)

func newKeeper(t *testing.T, has ...types.UID) *Keeper {
	t.Helper()
	return New(Config{
		Dir: t.TempDir(), Has: func(uid types.UID) bool {
			for _, h := range has {
				if h == uid {
					return true
				}
			}
			return false
		}, Free: func() (float64, error) { return 1, nil }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

func podOf(t *testing.T, uid, executor string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	p.UID = types.UID(uid)
	if err := sandbox.Set(p, sandbox.Place{Agent: "A", Framework: "F", Executor: executor}, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

func made(t *testing.T, k *Keeper, p *corev1.Pod) string {
	t.Helper()
	dir, ok, err := k.Make(p)
	if !ok || err != nil {
		t.Fatalf("no sandbox: %v, %v", ok, err)
	}
	return dir
}

// TestMake: a sandbox lies where Mesos' would, and latest leads to the newest of its executor.
func TestMake(t *testing.T) {
	k := newKeeper(t)
	first, second := made(t, k, podOf(t, "u1", "e")), made(t, k, podOf(t, "u2", "e"))
	if want := filepath.Join(k.cfg.Dir, "slaves/A/frameworks/F/executors/e/runs/u1"); first != want {
		t.Errorf("%s, want %s", first, want)
	}
	if to, err := filepath.EvalSymlinks(filepath.Join(filepath.Dir(first), "latest")); err != nil || filepath.Base(to) != "u2" {
		t.Errorf("latest leads to %s, %v, want %s", to, err, second)
	}
	if again := made(t, k, podOf(t, "u1", "e")); again != first {
		t.Errorf("the second time it is %s", again)
	}
	for _, id := range []string{"..", "a/b", "../../../../../x"} {
		if dir, _, err := k.Make(podOf(t, "u3", id)); err == nil || !strings.Contains(err.Error(), "executor") {
			t.Errorf("executor %q: %s, %v, want an error that names it", id, dir, err)
		}
	}
	other := podOf(t, "u4", "e")
	if err := sandbox.Set(other, sandbox.Place{Agent: "A", Framework: "F", Executor: "e", Container: "u1"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Make(other); err == nil || !strings.Contains(err.Error(), "another pod's") {
		t.Errorf("another pod's sandbox: %v", err)
	}
	if _, ok, err := k.Make(&corev1.Pod{}); ok || err != nil {
		t.Errorf("a pod without one: %v, %v", ok, err)
	}
}

func line(at time.Time, stream, tag, text string) string {
	return fmt.Sprintf("%s %s %s %s\n", at.Format(time.RFC3339Nano), stream, tag, text)
}

// container writes a log, and has it followed.
type container struct {
	t       *testing.T
	log     string
	at      time.Time
	running atomic.Bool
}

func (c *container) write(lines ...string) {
	c.t.Helper()
	f, err := os.OpenFile(c.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	for _, l := range lines {
		stream, text, _ := strings.Cut(l, " ")
		tag, text, _ := strings.Cut(text, " ")
		c.at = c.at.Add(time.Millisecond)
		if _, err := f.WriteString(line(c.at, stream, tag, text)); err != nil {
			c.t.Fatal(err)
		}
	}
}

func outputs(t *testing.T, dir, out, err string) {
	t.Helper()
	for name, want := range map[string]string{"stdout": out, "stderr": err} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v, want %q", name, got, err, want)
		}
	}
}

// TestOutput: what a container writes is in its sandbox, each output in its file, and an
// agent that starts anew goes on where the one before was.
func TestOutput(t *testing.T) {
	k := newKeeper(t)
	p := podOf(t, "u", "e")
	dir := made(t, k, p)
	c := &container{t: t, log: filepath.Join(t.TempDir(), "0.log"), at: time.Now()}
	c.running.Store(true)
	o := Output{Pod: p.UID, ID: "id", Sandbox: dir, Log: c.log, Running: c.running.Load}
	ctx, stop := context.WithCancel(t.Context())
	c.write("stdout F one", "stderr F two", "stdout P thr", "stdout F ee")
	k.Follow(ctx, o)
	k.Follow(ctx, o) // again changes nothing
	waitFor(t, filepath.Join(dir, "stdout"), "one\nthree\n")
	stop()
	k.works.Wait()

	c.write("stdout F four") // while no agent is there
	k = New(k.cfg)
	made(t, k, p)
	k.Follow(t.Context(), o)
	c.write("stderr F five", "stdout P six")
	if err := k.Left(p); err != nil { // the container has ended, whatever is said of it
		t.Fatal(err)
	}
	outputs(t, dir, "one\nthree\nfour\nsix", "two\nfive\n")
}

// waitFor waits until the file holds the text: inotify tells the keeper, nothing tells us.
func waitFor(t *testing.T, name, text string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		if b, err := os.ReadFile(name); err == nil && string(b) == text {
			return
		}
		<-tick.C
	}
	b, err := os.ReadFile(name)
	t.Fatalf("%s holds %q, %v, want %q", name, b, err, text)
}

// TestTamperedOutput: a link or a pipe that a task left in place of its output is not
// written to.
func TestTamperedOutput(t *testing.T) {
	k := newKeeper(t)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("safe"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := podOf(t, "u", "e")
	dir := made(t, k, p)
	if err := os.Symlink(victim, filepath.Join(dir, "stdout")); err != nil {
		t.Fatal(err)
	}
	c := &container{t: t, log: filepath.Join(t.TempDir(), "0.log"), at: time.Now()}
	c.write("stdout F evil")
	k.Follow(t.Context(), Output{Pod: p.UID, ID: "id", Sandbox: dir, Log: c.log, Running: c.running.Load})
	k.works.Wait()
	if b, err := os.ReadFile(victim); err != nil || string(b) != "safe" {
		t.Errorf("the link's target holds %q, %v", b, err)
	}
}

// TestRotate: an output does not grow without end.
func TestRotate(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f := &files{root: root}
	for i, name := range []string{stdout, stderr} {
		if _, err := f.files[i].open(root, name); err != nil {
			t.Fatal(err)
		}
	}
	text := make([]byte, 1<<20)
	for range fileMax/len(text) + 1 {
		if err := f.Line(false, time.Now(), text); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"stdout": 1 << 20, "stdout.1": fileMax, "stderr": 0} {
		if st, err := root.Stat(name); err != nil || st.Size() != want {
			t.Errorf("%s: %v, want %d bytes", name, err, want)
		}
	}
}

// TestCollect: what ended goes after a week, sooner where the disk is full, and what a pod
// has stays; the folders above go with the last.
func TestCollect(t *testing.T) {
	if got := []time.Duration{keepFor(1.1), keepFor(0.6), keepFor(0.1), keepFor(0)}; got[0] != keepMax || got[1] != keepMax/2 || got[2] != 0 || got[3] != 0 {
		t.Errorf("kept for %v", got)
	}
	k := newKeeper(t, "has")
	gone, used := podOf(t, "gone", "e1"), podOf(t, "used", "e2")
	dirs := []string{made(t, k, gone), made(t, k, used), made(t, New(k.cfg), podOf(t, "has", "e3"))}
	if err := k.Left(gone); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, tt := range []struct {
		keep time.Duration
		now  time.Time
		left int
	}{{keepMax, now, 3}, {keepMax, now.Add(keepMax + time.Minute), 2}} {
		if err := k.collect(tt.keep, tt.now); err != nil {
			t.Fatal(err)
		}
		left := 0
		for _, d := range dirs {
			if _, err := os.Stat(d); err == nil {
				left++
			}
		}
		if left != tt.left {
			t.Errorf("%d are left, want %d", left, tt.left)
		}
	}
	executor := filepath.Dir(filepath.Dir(dirs[0]))
	if _, err := os.Stat(executor); err == nil {
		t.Errorf("%s is still there", executor)
	}
	if _, err := os.Stat(filepath.Dir(executor)); err != nil {
		t.Error(err)
	}
}
