package sandbox

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestDir: ids become folders, and none leaves the agent's work directory.
func TestDir(t *testing.T) {
	p := Place{Agent: "A-S0", Framework: "F-0000", Executor: "task.1", Container: "c"}
	dir, err := p.Dir()
	if want := "slaves/A-S0/frameworks/F-0000/executors/task.1/runs/c"; err != nil || dir != want {
		t.Errorf("%q, %v, want %q", dir, err, want)
	}
	for _, id := range []string{"", ".", "..", "../x", "a/b", `a\b`, "a\x00", "a\nb", strings.Repeat("x", 256)} {
		for field, set := range map[string]func(*Place){
			"agent": func(p *Place) { p.Agent = id }, "framework": func(p *Place) { p.Framework = id },
			"executor": func(p *Place) { p.Executor = id }, "container": func(p *Place) { p.Container = id },
		} {
			bad := p
			set(&bad)
			if dir, err := bad.Dir(); err == nil || !strings.HasPrefix(err.Error(), field) {
				t.Errorf("%s %q: %q, %v, want an error that names the field", field, id, dir, err)
			}
		}
	}
}

// TestPod: what is noted on a pod is read from it.
func TestPod(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}, {Name: "b"}, {Name: "c"}}}}
	p.UID = types.UID("uid")
	if _, ok, err := PlaceOf(p); ok || err != nil {
		t.Errorf("a pod without a sandbox: %v, %v", ok, err)
	}
	no := false
	uris := []URI{{Value: "http://x/a.tar.gz"}, {Value: "/b", Extract: &no, OutputFile: "d/b", Container: "b"}}
	if err := Set(p, Place{Agent: "s", Framework: "f", Executor: "e"}, uris); err != nil {
		t.Fatal(err)
	}
	c := p.Spec.Containers
	Mount(&c[0], TaskDir("t1"))
	OnHostRoot(p, &c[1], "", Command{Shell: true, Value: "echo $(HOME) $$ $HOME", User: "nobody"})
	if place, ok, err := PlaceOf(p); !ok || err != nil || place != (Place{"s", "f", "e", "uid"}) {
		t.Errorf("the place is %+v, %v, %v", place, ok, err)
	}
	got, err := URIsOf(p)
	if err != nil || len(got) != 2 || !got[0].Extracts() || got[1].Extracts() || got[1].Container != "b" {
		t.Errorf("the URIs are %+v, %v", got, err)
	}
	for i, want := range []struct {
		dir         string
		mounts, own bool
	}{{"tasks/t1", true, false}, {"", true, true}, {"", false, false}} {
		if dir, ok := DirOf(&c[i]); dir != want.dir || ok != want.mounts || OnHost(p, &c[i]) != want.own {
			t.Errorf("container %d has %q, %v, on the host %v: want %+v", i, dir, ok, OnHost(p, &c[i]), want)
		}
	}
	if got := strings.Join(append(append([]string{}, c[1].Command...), c[1].Args...), "|"); got != "/run-on-host|-u|nobody|-p|/bin/sh|--|sh|-c|echo $$(HOME) $$$$ $HOME" {
		t.Errorf("the command is %s", got)
	}
	if len(p.Spec.Volumes) != 2 {
		t.Errorf("volumes: %v", p.Spec.Volumes)
	}
}

// TestArguments: a program gets its arguments as Mesos has them, its own name among them.
func TestArguments(t *testing.T) {
	for want, cmd := range map[string]Command{
		"-p|/bin/x|--|/bin/x":    {Value: "/bin/x"},
		"-p|/bin/x|--|me|-v|$$(": {Value: "/bin/x", Args: []string{"me", "-v", "$("}},
	} {
		p, c := &corev1.Pod{}, &corev1.Container{}
		OnHostRoot(p, c, "", cmd)
		if got := strings.Join(append(c.Command[1:], c.Args...), "|"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for want, cmd := range map[string]Command{
		"/bin/sh -c x y": {Shell: true, Value: "x y"},
		"/bin/x -v":      {Value: "/bin/x", Args: []string{"me", "-v"}},
		"a b":            {Args: []string{"a", "b"}},
	} {
		c := &corev1.Container{}
		InImage(c, cmd)
		if got := strings.Join(append(c.Command, c.Args...), " "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
