package agent

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/cgroup"
	"trireme/internal/runtime"
)

// observed is what a worker knows of its pod on this node. It is data: decide
// and status read it, the worker alone writes it.
//
//	prepare ──► sandbox ──► init containers, one by one ──► containers
//	   (volumes,               (sidecars go on)                 │
//	    cgroup)                                     all ended, failed or deleted
//	                                                            ▼
//	                        remove ◄── deleted ──── kill, then stop the sandbox
type observed struct {
	adopted  bool // what the runtime has of the pod is known
	since    time.Time
	prepared bool
	sandbox  sandboxState

	containers  map[string]*containerState
	initialized bool // every init container has done its work in this sandbox

	preparing, removing bool // under way
	prepareRetry        retry
	removeRetry         retry

	failure     *failure     // the pod as a whole failed
	ended       bool         // an earlier report said so: nothing may run again
	stopped     bool         // its sandbox has been stopped for good
	terminating *termination // it was deleted
	gone        bool         // nothing is left of it
}

type sandboxState struct {
	id      string
	attempt uint32
	made    bool // attempt counts
	ready   bool
	busy    bool
	retry   retry
}

// retry is when something that failed may be tried again.
type retry struct {
	notBefore time.Time
	pause     time.Duration
}

type failure struct{ reason, message string }

type termination struct {
	deadline time.Time
	grace    time.Duration // as last asked for
}

// containerState is what is known of the newest container of a name.
type containerState struct {
	spec      *corev1.Container
	init      bool
	ephemeral bool   // added to the running pod: it starts once, beside the others
	target    string // the container whose processes it sees; may be empty

	busy     bool // an operation on it is under way
	made     bool // full is of a container that was made
	ran      bool // attempt is of a container that was made, once
	current  bool // it was made in the sandbox that there is
	attempt  uint32
	full     runtime.Container
	imageRef string // what the image is known as
	previous *corev1.ContainerStateTerminated
	oldID    string // the one before, still in the runtime

	hooked         bool // postStart is through
	preStopped     bool // preStop is through
	started, ready bool // as the probes say
	kill           *killOrder

	waitReason, waitMessage string
	notBefore               time.Time     // of the next start
	pause                   time.Duration // of the crash back-off; 0: it never crashed
}

// killOrder is why one container must end while its pod goes on.
type killOrder struct {
	message string
	grace   time.Duration
}

func (c *containerState) sidecar() bool { return c.init && cgroup.Sidecar(c.spec) }
func (c *containerState) running() bool { return c.made && c.full.State == runtime.Running }
func (c *containerState) exited() bool  { return c.made && c.full.State == runtime.Exited }

// step is what to do next; its parts are independent of each other and may run
// at the same time.
type step struct {
	prepare bool
	sandbox bool
	start   []string
	hook    []string
	kill    []kill
	end     bool // stop the sandbox for good, the pod stays
	remove  bool
	fail    *failure
	next    time.Time // look again then, zero: when something changes
}

type kill struct {
	name     string
	message  string
	deadline time.Time
}

func (s *step) at(t time.Time) {
	if s.next.IsZero() || t.Before(s.next) {
		s.next = t
	}
}

// decide returns what to do next for the pod. It is pure, and asked again after
// everything that changes.
func decide(p *corev1.Pod, o *observed, now time.Time) step {
	switch {
	case !o.adopted || o.gone:
		return step{}
	case o.terminating != nil:
		return decideRemoval(p, o, now)
	case finished(p, o):
		return decideEnd(p, o, now)
	}
	var s step
	if d := p.Spec.ActiveDeadlineSeconds; d != nil {
		at := o.since.Add(time.Duration(*d) * time.Second)
		if !now.Before(at) {
			s.fail = &failure{"DeadlineExceeded", "Pod was active on the node longer than the specified deadline"}
			return s
		}
		s.at(at)
	}
	for _, c := range ordered(p, o) {
		switch {
		case c.busy || !c.running():
		case c.kill != nil:
			s.kill = append(s.kill, kill{c.spec.Name, c.kill.message, now.Add(c.kill.grace)})
		case !c.hooked:
			s.hook = append(s.hook, c.spec.Name)
		}
	}
	decideStart(p, o, now, &s)
	return s
}

// decideStart adds what brings the next containers up.
func decideStart(p *corev1.Pod, o *observed, now time.Time, s *step) {
	if !o.prepared && !o.preparing {
		if now.Before(o.prepareRetry.notBefore) {
			s.at(o.prepareRetry.notBefore)
		} else {
			s.prepare = true
		}
	}
	want := append(wanted(p, o), added(p, o)...)
	if !o.prepared || len(want) == 0 && !orphaned(o) {
		return
	}
	if !o.sandbox.ready {
		switch {
		case o.sandbox.busy || anyBusy(o):
		case now.Before(o.sandbox.retry.notBefore):
			s.at(o.sandbox.retry.notBefore)
		default:
			s.sandbox = true
		}
		return
	}
	for _, c := range want {
		switch {
		case c.busy:
		case now.Before(c.notBefore):
			s.at(c.notBefore)
		default:
			s.start = append(s.start, c.spec.Name)
		}
	}
}

// orphaned reports whether the sandbox has died and containers of it still run:
// they share namespaces that nothing can be added to any more.
func orphaned(o *observed) bool {
	if !o.sandbox.made || o.sandbox.ready {
		return false
	}
	for _, c := range o.containers {
		if c.current && c.running() {
			return true
		}
	}
	return false
}

// wanted returns the containers that should be running and are not.
func wanted(p *corev1.Pod, o *observed) []*containerState {
	var out []*containerState
	for i := range p.Spec.InitContainers {
		c := o.containers[p.Spec.InitContainers[i].Name]
		up := c.current && c.running()
		switch {
		case c.sidecar() && !up:
			out = append(out, c)
			if !o.initialized {
				return out
			}
		case o.initialized:
		case c.sidecar() && !(c.started && c.hooked):
			return out
		case c.sidecar(), c.current && c.exited() && c.full.ExitCode == 0:
		case up:
			return out
		default:
			return append(out, c)
		}
	}
	for i := range p.Spec.Containers {
		c := o.containers[p.Spec.Containers[i].Name]
		if !c.running() && restarts(p, c) {
			out = append(out, c)
		}
	}
	return out
}

// added returns the ephemeral containers that have not run yet.
func added(p *corev1.Pod, o *observed) []*containerState {
	var out []*containerState
	for i := range p.Spec.EphemeralContainers {
		if c := o.containers[p.Spec.EphemeralContainers[i].Name]; !c.made && !c.ran {
			out = append(out, c)
		}
	}
	return out
}

// initialized reports whether the init containers let the others start.
func initialized(p *corev1.Pod, o *observed) bool {
	if o.initialized {
		return true
	}
	for i := range p.Spec.InitContainers {
		c := o.containers[p.Spec.InitContainers[i].Name]
		done := c.current && c.exited() && c.full.ExitCode == 0
		if c.sidecar() {
			done = c.current && c.running() && c.started && c.hooked
		}
		if !done {
			return false
		}
	}
	return true
}

// restarts reports whether a container that does not run should.
func restarts(p *corev1.Pod, c *containerState) bool {
	if c.ephemeral {
		return !c.made && !c.ran
	}
	if c.sidecar() || !c.exited() {
		return true
	}
	switch p.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return c.full.ExitCode != 0
	}
	return true
}

// finished reports whether nothing of the pod may run again.
func finished(p *corev1.Pod, o *observed) bool {
	if o.ended || o.failure != nil || initFailed(p, o) {
		return true
	}
	for i := range p.Spec.Containers {
		c := o.containers[p.Spec.Containers[i].Name]
		if c.running() || restarts(p, c) {
			return false
		}
	}
	return true
}

func initFailed(p *corev1.Pod, o *observed) bool {
	if p.Spec.RestartPolicy != corev1.RestartPolicyNever || o.initialized {
		return false
	}
	for i := range p.Spec.InitContainers {
		c := o.containers[p.Spec.InitContainers[i].Name]
		if !c.sidecar() && c.exited() && c.full.ExitCode != 0 {
			return true
		}
	}
	return false
}

// decideEnd stops what is left of a pod that has finished.
func decideEnd(p *corev1.Pod, o *observed, now time.Time) step {
	var s step
	message := ""
	if o.failure != nil {
		message = o.failure.message
	}
	if !stopAll(p, o, now.Add(graceOf(p)), message, &s) {
		return s
	}
	if !o.stopped && o.sandbox.id != "" && !o.sandbox.busy {
		if now.Before(o.sandbox.retry.notBefore) {
			s.at(o.sandbox.retry.notBefore)
		} else {
			s.end = true
		}
	}
	return s
}

// decideRemoval stops everything of a deleted pod and takes it away.
func decideRemoval(p *corev1.Pod, o *observed, now time.Time) step {
	var s step
	if !stopAll(p, o, o.terminating.deadline, "", &s) || o.preparing || o.sandbox.busy || o.removing {
		return s
	}
	if now.Before(o.removeRetry.notBefore) {
		s.at(o.removeRetry.notBefore)
	} else {
		s.remove = true
	}
	return s
}

// stopAll adds the next kills and reports whether everything has ended: first
// the containers, then the sidecars, the last one first (Kubernetes, "Sidecar
// containers: termination").
func stopAll(p *corev1.Pod, o *observed, deadline time.Time, why string, s *step) bool {
	all, up := ordered(p, o), 0
	for _, c := range all {
		if c.sidecar() || !c.busy && !c.running() {
			continue
		}
		up++
		if !c.busy {
			s.kill = append(s.kill, kill{c.spec.Name, why, deadline})
		}
	}
	for i := len(all) - 1; i >= 0 && up == 0; i-- {
		c := all[i]
		if !c.sidecar() || !c.busy && !c.running() {
			continue
		}
		up++
		if !c.busy {
			s.kill = append(s.kill, kill{c.spec.Name, why, deadline})
		}
	}
	return up == 0
}

// ordered returns the containers in the order of the spec, init ones first,
// ephemeral ones last.
func ordered(p *corev1.Pod, o *observed) []*containerState {
	out := make([]*containerState, 0, len(o.containers))
	for i := range p.Spec.InitContainers {
		out = append(out, o.containers[p.Spec.InitContainers[i].Name])
	}
	for i := range p.Spec.Containers {
		out = append(out, o.containers[p.Spec.Containers[i].Name])
	}
	for i := range p.Spec.EphemeralContainers {
		out = append(out, o.containers[p.Spec.EphemeralContainers[i].Name])
	}
	return out
}

func anyBusy(o *observed) bool {
	for _, c := range o.containers {
		if c.busy {
			return true
		}
	}
	return false
}

// graceOf returns how long the pod's containers get to end.
func graceOf(p *corev1.Pod) time.Duration {
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if p.DeletionGracePeriodSeconds != nil {
		grace = *p.DeletionGracePeriodSeconds
	} else if p.Spec.TerminationGracePeriodSeconds != nil {
		grace = *p.Spec.TerminationGracePeriodSeconds
	}
	return time.Duration(max(grace, 0)) * time.Second
}

// The crash back-off (Kubernetes, "Pod Lifecycle: container restarts"): the first
// restart is at once, then pauses double; a container that ran for long enough
// starts over.
const (
	crashPauseMax   = 5 * time.Minute
	crashReset      = 10 * time.Minute
	reasonCrashLoop = "CrashLoopBackOff"
)

// crashed notes that the container has ended, and when it may start again.
func (c *containerState) crashed() {
	if !c.full.Started.IsZero() && c.full.Finished.Sub(c.full.Started) >= crashReset { // one that never started ran for no time
		c.pause = 0
	}
	c.notBefore = c.full.Finished.Add(c.pause)
}

// restarted notes that a container that had ended was started again.
func (c *containerState) restarted(pauseMin time.Duration) {
	c.pause = min(max(c.pause*2, pauseMin), crashPauseMax)
}

// again returns when to retry after one more failure.
func (r retry) again(now time.Time, pauseMax time.Duration) retry {
	r.pause = min(max(r.pause*2, retryMin), pauseMax)
	r.notBefore = now.Add(r.pause)
	return r
}

// The pauses after a volume, a sandbox or a removal that failed.
const (
	retryMin = 500 * time.Millisecond
	retryMax = 30 * time.Second
)
