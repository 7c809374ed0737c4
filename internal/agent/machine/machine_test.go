package machine

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
func (s Step) text() string {
	var parts []string
	add := func(ok bool, format string, args ...any) {
		if ok {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(s.Prepare, "prepare")
	add(s.Sandbox, "sandbox")
	add(len(s.Start) > 0, "start %s", strings.Join(s.Start, ","))
	add(len(s.Hook) > 0, "hook %s", strings.Join(s.Hook, ","))
	for _, k := range s.Kill {
		add(true, "kill %s +%s", k.Name, k.Deadline.Sub(t0))
	}
	add(s.End, "end")
	add(s.Remove, "remove")
	add(s.Fail != nil, "fail")
	add(!s.Next.IsZero(), "next +%s", s.Next.Sub(t0))
	return strings.Join(parts, "; ")
}

// at makes the state of a container: "-" not made, "c" created, "r" running,
// "x0" exited with 0; "b" behind it: busy.
func at(spec *corev1.Container, init bool, state string) *Container {
	c := &Container{Spec: spec, Init: init, Made: true, Ran: true, Current: true, Hooked: true, Started: true}
	state, c.Busy = strings.CutSuffix(state, "b")
	switch state[0] {
	case '-':
		c.Made, c.Ran, c.Current = false, false, false
	case 'c':
		c.Full.State = runtime.Created
	case 'r':
		c.Full.State = runtime.Running
	case 'x':
		c.Full.State = runtime.Exited
		c.Full.ExitCode = int32(state[1] - '0')
	}
	return c
}

func TestDecide(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	// The pod has a sidecar, an init container and two containers.
	spec := func(p corev1.RestartPolicy) *corev1.Pod {
		pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: p}}
		pod.Spec.InitContainers = []corev1.Container{{Name: "side", RestartPolicy: &always}, {Name: "init"}}
		pod.Spec.Containers = []corev1.Container{{Name: "one"}, {Name: "two"}}
		return pod
	}
	const A, F, N = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	up := func(o *Observed) { o.Prepared, o.Sandbox = true, Sandbox{ID: "s", Made: true, Ready: true} }
	going := func(o *Observed) { up(o); o.Initialized = true }
	for _, tt := range []struct {
		name   string
		policy corev1.RestartPolicy
		states string // side init one two
		change func(*Observed)
		want   string
	}{
		{"new", A, "- - - -", func(*Observed) {}, "prepare"},
		{"preparing", A, "- - - -", func(o *Observed) { o.Preparing = true }, ""},
		{"volumes failed", A, "- - - -", func(o *Observed) { o.PrepareRetry.NotBefore = t0.Add(time.Second) }, "next +1s"},
		{"prepared", A, "- - - -", func(o *Observed) { o.Prepared = true }, "sandbox"},
		{"making the sandbox", A, "- - - -", func(o *Observed) { o.Prepared, o.Sandbox.Busy = true, true }, ""},
		{"sidecar first", A, "- - - -", up, "start side"},
		{"sidecar not started", A, "r - - -", func(o *Observed) { up(o); o.Containers["side"].Started = false }, ""},
		{"then init", A, "r - - -", up, "start init"},
		{"init runs", A, "r r - -", up, ""},
		{"init failed", A, "r x1 - -", up, "start init"},
		{"init failed for good", N, "r x1 - -", up, "kill side +30s"},
		{"sidecar died during init", A, "x1 r - -", up, "start side"},
		{"then all others at once", A, "r x0 - -", going, "start one,two"},
		{"one is being made", A, "r x0 -b -", going, "start two"},
		{"all run", A, "r x0 r r", going, ""},
		{"crashed", A, "r x0 x1 r", going, "start one"},
		{"crashed, in its pause", A, "r x0 x1 r", func(o *Observed) { going(o); o.Containers["one"].NotBefore = t0.Add(10 * time.Second) }, "next +10s"},
		{"ended well, Always", A, "r x0 x0 r", going, "start one"},
		{"ended well, OnFailure", F, "r x0 x0 r", going, ""},
		{"failed, OnFailure", F, "r x0 x1 r", going, "start one"},
		{"failed, Never", N, "r x0 x1 r", going, ""},
		{"sidecar died", N, "x0 x0 r r", going, "start side"},
		{"all ended", N, "r x0 x0 x1", going, "kill side +30s"},
		{"the sidecar too", N, "x0 x0 x0 x1", going, "end"},
		{"stopped", N, "x0 x0 x0 x1", func(o *Observed) { going(o); o.Stopped = true }, ""},
		{"sandbox died", A, "x0 x0 x1 x1", func(o *Observed) { going(o); o.Sandbox.Ready = false }, "sandbox"},
		{"sandbox died, its containers go on", A, "r x0 r r", func(o *Observed) { going(o); o.Sandbox.Ready = false }, "sandbox"},
		{"sandbox died, nothing to run", N, "x0 x0 x1 x1", func(o *Observed) { going(o); o.Sandbox.Ready = false; o.Stopped = true }, ""},
		{"liveness failed", A, "r x0 r r", func(o *Observed) { going(o); o.Containers["two"].Kill = &KillOrder{"", 3 * time.Second} }, "kill two +3s"},
		{"postStart waits", A, "r x0 r r", func(o *Observed) { going(o); o.Containers["one"].Hooked = false }, "hook one"},
		{"deleted", A, "r x0 r r", func(o *Observed) { going(o); o.Terminating = &Termination{Deadline: t0.Add(5 * time.Second)} }, "kill one +5s; kill two +5s"},
		{"deleted, one is ending", A, "r x0 rb x0", func(o *Observed) { going(o); o.Terminating = &Termination{} }, ""},
		{"deleted, the sidecar last", A, "r x0 x0 x0", func(o *Observed) { going(o); o.Terminating = &Termination{Deadline: t0} }, "kill side +0s"},
		{"deleted, all down", A, "x0 x0 x0 x0", func(o *Observed) { going(o); o.Terminating = &Termination{} }, "remove"},
		{"deleted before anything", A, "- - - -", func(o *Observed) { o.Terminating = &Termination{} }, "remove"},
		{"deleted while preparing", A, "- - - -", func(o *Observed) { o.Preparing = true; o.Terminating = &Termination{} }, ""},
		{"deleted, removal failed", A, "- - - -", func(o *Observed) { o.Terminating = &Termination{}; o.RemoveRetry.NotBefore = t0.Add(time.Second) }, "next +1s"},
		{"ended in an earlier life", A, "- - - -", func(o *Observed) { o.Ended = true }, ""},
		{"not adopted yet", A, "- - - -", func(o *Observed) { o.Adopted = false }, ""},
		{"gone", A, "- - - -", func(o *Observed) { o.Gone = true }, ""},
	} {
		p, s := spec(tt.policy), strings.Fields(tt.states)
		o := &Observed{Adopted: true, Since: t0, Containers: map[string]*Container{
			"side": at(&p.Spec.InitContainers[0], true, s[0]), "init": at(&p.Spec.InitContainers[1], true, s[1]),
			"one": at(&p.Spec.Containers[0], false, s[2]), "two": at(&p.Spec.Containers[1], false, s[3]),
		}}
		tt.change(o)
		if !o.Initialized {
			o.Initialized = Initialized(p, o)
		}
		if got := Decide(p, o, t0).text(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if got := Decide(p, o, t0).text(); got != tt.want {
			t.Errorf("%s: asked again it says %q", tt.name, got)
		}
	}
}

func TestCrashPauses(t *testing.T) {
	c := &Container{Made: true}
	run := func(ran time.Duration) time.Duration {
		c.Full.Started, c.Full.Finished = t0, t0.Add(ran)
		c.Crashed(c.Full.Finished.Add(time.Second))
		pause := c.NotBefore.Sub(c.Full.Finished)
		c.Restarted(10 * time.Second)
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
	now := t0.Add(-time.Hour) // the clock was set back
	if c.Crashed(now); c.NotBefore.Sub(now) != c.Pause {
		t.Errorf("after the clock was set back an hour: pause %s, want %s", c.NotBefore.Sub(now), c.Pause)
	}
}
