package runtimetest

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/runtime"
)

// bench is a harness in one test.
type bench struct {
	Harness
	ctx context.Context
}

type sandbox struct {
	id  string
	cfg *runtime.SandboxConfig
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sandbox runs a sandbox; the name is the pod's and makes its UID.
func (b *bench) sandbox(t *testing.T, name string) sandbox {
	t.Helper()
	cfg := &runtime.SandboxConfig{
		Name: name, Namespace: "conformance", UID: types.UID("uid-" + name), Hostname: name,
		LogDir:       filepath.Join(b.LogDir, name),
		Labels:       map[string]string{"app": name},
		Annotations:  map[string]string{"note": "of the sandbox"},
		CgroupParent: b.CgroupParent,
	}
	id, err := b.Runtime.RunSandbox(b.ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sandbox{id: id, cfg: cfg}
}

func (b *bench) config(name string, attempt uint32, words ...string) *runtime.ContainerConfig {
	return &runtime.ContainerConfig{
		Name: name, Attempt: attempt, Image: b.Image, ImageRef: b.Image,
		Command: append([]string{Prog}, words...),
		LogPath: name + "/0.log",
		Labels:  map[string]string{"part": name}, Annotations: map[string]string{"note": "of the container"},
		MaskedPaths: true,
	}
}

func (b *bench) create(t *testing.T, s sandbox, name string, words ...string) string {
	t.Helper()
	return b.createAttempt(t, s, name, 0, words...)
}

func (b *bench) createAttempt(t *testing.T, s sandbox, name string, attempt uint32, words ...string) string {
	t.Helper()
	id, err := b.Runtime.CreateContainer(b.ctx, s.id, s.cfg, b.config(name, attempt, words...))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (b *bench) start(t *testing.T, id string) {
	t.Helper()
	must(t, b.Runtime.StartContainer(b.ctx, id))
}

// serve starts a container and waits until its program listens for signals.
func (b *bench) serve(t *testing.T, id string) {
	t.Helper()
	b.start(t, id)
	if _, _, code, err := b.Runtime.ExecSync(b.ctx, id, []string{Prog, "await"}, limit); err != nil || code != 0 {
		t.Fatalf("waiting for the program to listen: %d, %v", code, err)
	}
}

func (b *bench) stop(t *testing.T, id string, grace time.Duration) {
	t.Helper()
	must(t, b.Runtime.StopContainer(b.ctx, id, grace))
}

func (b *bench) container(t *testing.T, id string) *runtime.Container {
	t.Helper()
	c, err := b.Runtime.Container(b.ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// find returns the listed sandbox of the ID, nil if there is none.
func (b *bench) find(t *testing.T, id string) *runtime.Sandbox {
	t.Helper()
	all, err := b.Runtime.List(b.ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s runtime.Sandbox) bool { return s.ID == id })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// await blocks until done says so, looking after each event of the pod.
func (b *bench) await(t *testing.T, s sandbox, what string, done func() bool) {
	t.Helper()
	for uid, err := range b.Runtime.Events(b.ctx) {
		if err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		if (uid == "" || uid == s.cfg.UID) && done() {
			return
		}
	}
	t.Fatalf("waiting for %s: the events ended without an error", what)
}

// cleanUp removes every sandbox and checks that none is left.
func (b *bench) cleanUp(t *testing.T) {
	t.Helper()
	all, err := b.Runtime.List(b.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		must(t, b.Runtime.StopSandbox(b.ctx, s.ID))
		must(t, b.Runtime.RemoveSandbox(b.ctx, s.ID))
	}
	if all, err = b.Runtime.List(b.ctx); err != nil || len(all) > 0 {
		t.Errorf("after removing all: %v, %v", all, err)
	}
}

func testList(t *testing.T, b *bench) {
	first, second := b.sandbox(t, "list-a"), b.sandbox(t, "list-b")
	one := b.create(t, first, "one", "serve")
	two := b.create(t, first, "two", "serve")
	b.start(t, one)
	all, err := b.Runtime.List(b.ctx)
	must(t, err)
	if len(all) != 2 || all[0].ID != first.id || all[1].ID != second.id {
		t.Fatalf("listed: %+v, want %s and %s, oldest first", all, first.id, second.id)
	}
	s := all[0]
	if s.Name != "list-a" || s.Namespace != "conformance" || s.UID != "uid-list-a" || !s.Ready || s.Created.IsZero() {
		t.Errorf("sandbox: %+v", s)
	}
	if len(s.Labels) != 1 || s.Labels["app"] != "list-a" || s.Annotations["note"] != "of the sandbox" {
		t.Errorf("sandbox labels %v, annotations %v", s.Labels, s.Annotations)
	}
	if len(s.Containers) != 2 || s.Containers[0].ID != one || s.Containers[1].ID != two {
		t.Fatalf("containers: %+v", s.Containers)
	}
	c := s.Containers[0]
	if c.Name != "one" || c.State != runtime.Running || c.ImageRef != b.Image || c.ImageID == "" || len(c.Labels) != 1 || c.Labels["part"] != "one" {
		t.Errorf("container: %+v", c)
	}
	if s.Containers[1].State != runtime.Created {
		t.Errorf("second container: %+v", s.Containers[1])
	}
}

func testStats(t *testing.T, b *bench) {
	s := b.sandbox(t, "stats")
	id := b.create(t, s, "main", "serve")
	b.create(t, s, "idle", "serve") // created only: no use
	b.start(t, id)
	all, err := b.Runtime.Stats(b.ctx)
	must(t, err)
	if len(all) != 1 {
		t.Fatalf("stats: %+v, want those of one running container", all)
	}
	u := all[0]
	if u.ContainerID != id || u.PodUID != "uid-stats" || u.Pod.String() != "conformance/stats" || u.Container != "main" {
		t.Errorf("stats are of %+v", u)
	}
	if u.MemoryBytes == 0 || u.Time.IsZero() {
		t.Errorf("stats: %+v", u)
	}
}
