package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/runtime"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// text writes a step as one line.
func (s step) text() string {
	var parts []string
	add := func(ok bool, format string, args ...any) {
		if ok {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(s.prepare, "prepare")
	add(s.sandbox, "sandbox")
	add(len(s.start) > 0, "start %s", strings.Join(s.start, ","))
	add(len(s.hook) > 0, "hook %s", strings.Join(s.hook, ","))
	for _, k := range s.kill {
		add(true, "kill %s +%s", k.name, k.deadline.Sub(t0))
	}
	add(s.end, "end")
	add(s.remove, "remove")
	add(s.fail != nil, "fail")
	add(!s.next.IsZero(), "next +%s", s.next.Sub(t0))
	return strings.Join(parts, "; ")
}

// at makes the state of a container: "-" not made, "c" created, "r" running,
// "x0" exited with 0; "b" behind it: busy.
func at(spec *corev1.Container, init bool, state string) *containerState {
	c := &containerState{spec: spec, init: init, made: true, ran: true, current: true, hooked: true, started: true}
	state, c.busy = strings.CutSuffix(state, "b")
	switch state[0] {
	case '-':
		c.made, c.ran, c.current = false, false, false
	case 'c':
		c.full.State = runtime.Created
	case 'r':
		c.full.State = runtime.Running
	case 'x':
		c.full.State = runtime.Exited
		c.full.ExitCode = int32(state[1] - '0')
	}
	return c
}

func TestDecide(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	// The pod has a sidecar, an init container and two containers.
	spec := func(p corev1.RestartPolicy) *corev1.Pod {
		pod := pod("a", policy(p))
		pod.Spec.InitContainers = []corev1.Container{{Name: "side", RestartPolicy: &always}, {Name: "init"}}
		pod.Spec.Containers = []corev1.Container{{Name: "one"}, {Name: "two"}}
		return pod
	}
	const A, F, N = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	up := func(o *observed) { o.prepared, o.sandbox = true, sandboxState{id: "s", made: true, ready: true} }
	going := func(o *observed) { up(o); o.initialized = true }
	for _, tt := range []struct {
		name   string
		policy corev1.RestartPolicy
		states string // side init one two
		change func(*observed)
		want   string
	}{
		{"new", A, "- - - -", func(*observed) {}, "prepare"},
		{"preparing", A, "- - - -", func(o *observed) { o.preparing = true }, ""},
		{"volumes failed", A, "- - - -", func(o *observed) { o.prepareRetry.notBefore = t0.Add(time.Second) }, "next +1s"},
		{"prepared", A, "- - - -", func(o *observed) { o.prepared = true }, "sandbox"},
		{"making the sandbox", A, "- - - -", func(o *observed) { o.prepared, o.sandbox.busy = true, true }, ""},
		{"sidecar first", A, "- - - -", up, "start side"},
		{"sidecar not started", A, "r - - -", func(o *observed) { up(o); o.containers["side"].started = false }, ""},
		{"then init", A, "r - - -", up, "start init"},
		{"init runs", A, "r r - -", up, ""},
		{"init failed", A, "r x1 - -", up, "start init"},
		{"init failed for good", N, "r x1 - -", up, "kill side +30s"},
		{"sidecar died during init", A, "x1 r - -", up, "start side"},
		{"then all others at once", A, "r x0 - -", going, "start one,two"},
		{"one is being made", A, "r x0 -b -", going, "start two"},
		{"all run", A, "r x0 r r", going, ""},
		{"crashed", A, "r x0 x1 r", going, "start one"},
		{"crashed, in its pause", A, "r x0 x1 r", func(o *observed) { going(o); o.containers["one"].notBefore = t0.Add(10 * time.Second) }, "next +10s"},
		{"ended well, Always", A, "r x0 x0 r", going, "start one"},
		{"ended well, OnFailure", F, "r x0 x0 r", going, ""},
		{"failed, OnFailure", F, "r x0 x1 r", going, "start one"},
		{"failed, Never", N, "r x0 x1 r", going, ""},
		{"sidecar died", N, "x0 x0 r r", going, "start side"},
		{"all ended", N, "r x0 x0 x1", going, "kill side +30s"},
		{"the sidecar too", N, "x0 x0 x0 x1", going, "end"},
		{"stopped", N, "x0 x0 x0 x1", func(o *observed) { going(o); o.stopped = true }, ""},
		{"sandbox died", A, "x0 x0 x1 x1", func(o *observed) { going(o); o.sandbox.ready = false }, "sandbox"},
		{"sandbox died, its containers go on", A, "r x0 r r", func(o *observed) { going(o); o.sandbox.ready = false }, "sandbox"},
		{"sandbox died, nothing to run", N, "x0 x0 x1 x1", func(o *observed) { going(o); o.sandbox.ready = false; o.stopped = true }, ""},
		{"liveness failed", A, "r x0 r r", func(o *observed) { going(o); o.containers["two"].kill = &killOrder{"", 3 * time.Second} }, "kill two +3s"},
		{"postStart waits", A, "r x0 r r", func(o *observed) { going(o); o.containers["one"].hooked = false }, "hook one"},
		{"deleted", A, "r x0 r r", func(o *observed) { going(o); o.terminating = &termination{deadline: t0.Add(5 * time.Second)} }, "kill one +5s; kill two +5s"},
		{"deleted, one is ending", A, "r x0 rb x0", func(o *observed) { going(o); o.terminating = &termination{} }, ""},
		{"deleted, the sidecar last", A, "r x0 x0 x0", func(o *observed) { going(o); o.terminating = &termination{deadline: t0} }, "kill side +0s"},
		{"deleted, all down", A, "x0 x0 x0 x0", func(o *observed) { going(o); o.terminating = &termination{} }, "remove"},
		{"deleted before anything", A, "- - - -", func(o *observed) { o.terminating = &termination{} }, "remove"},
		{"deleted while preparing", A, "- - - -", func(o *observed) { o.preparing = true; o.terminating = &termination{} }, ""},
		{"deleted, removal failed", A, "- - - -", func(o *observed) { o.terminating = &termination{}; o.removeRetry.notBefore = t0.Add(time.Second) }, "next +1s"},
		{"ended in an earlier life", A, "- - - -", func(o *observed) { o.ended = true }, ""},
		{"not adopted yet", A, "- - - -", func(o *observed) { o.adopted = false }, ""},
		{"gone", A, "- - - -", func(o *observed) { o.gone = true }, ""},
	} {
		p, s := spec(tt.policy), strings.Fields(tt.states)
		o := &observed{adopted: true, since: t0, containers: map[string]*containerState{
			"side": at(&p.Spec.InitContainers[0], true, s[0]), "init": at(&p.Spec.InitContainers[1], true, s[1]),
			"one": at(&p.Spec.Containers[0], false, s[2]), "two": at(&p.Spec.Containers[1], false, s[3]),
		}}
		tt.change(o)
		if !o.initialized {
			o.initialized = initialized(p, o)
		}
		if got := decide(p, o, t0).text(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if got := decide(p, o, t0).text(); got != tt.want {
			t.Errorf("%s: asked again it says %q", tt.name, got)
		}
	}
}

func TestCrashPauses(t *testing.T) {
	c := &containerState{made: true}
	run := func(ran time.Duration) time.Duration {
		c.full.Started, c.full.Finished = t0, t0.Add(ran)
		c.crashed()
		pause := c.notBefore.Sub(c.full.Finished)
		c.restarted(10 * time.Second)
		return pause
	}
	for i, want := range []time.Duration{0, 10, 20, 40, 80, 160, 300, 300} {
		if got := run(time.Second); got != want*time.Second {
			t.Errorf("crash %d: pause %s, want %ds", i, got, want)
		}
	}
	if got := run(10 * time.Minute); got != 0 {
		t.Errorf("after a long run: pause %s", got)
	}
	if got := run(time.Second); got != 10*time.Second {
		t.Errorf("and then: pause %s", got)
	}
}
