package machine

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/cgroup"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

// Observed is what a worker knows of its pod on this node. It is data: Decide
// and Status read it, the worker alone writes it.
//
//	prepare ──► sandbox ──► init containers, one by one ──► containers
//	   (volumes,               (sidecars go on)                 │
//	    cgroup)                                     all ended, failed or deleted
//	                                                            ▼
//	                        remove ◄── deleted ──── kill, then stop the sandbox
type Observed struct {
	Adopted  bool // what the runtime has of the pod is known
	Since    time.Time
	Prepared bool
	Sandbox  Sandbox

	Containers  map[string]*Container
	Initialized bool // every init container has done its work in this sandbox

	Preparing, Removing bool // under way
	PrepareRetry        Retry
	RemoveRetry         Retry

	Failure     *Failure       // the pod as a whole failed
	Evicted     bool           // for the node's sake
	Grace       *time.Duration // of its end; nil: the pod's own
	Ended       bool           // an earlier report said so: nothing may run again
	Stopped     bool           // its sandbox has been stopped for good
	Terminating *Termination   // it was deleted
	Resize      Resizing
	Gone        bool // nothing is left of it
}

// Sandbox is what is known of the newest sandbox of the pod.
type Sandbox struct {
	ID      string
	Attempt uint32
	Made    bool // attempt counts
	Ready   bool
	Busy    bool
	Retry   Retry
}

// Retry is when something that failed may be tried again.
type Retry struct {
	NotBefore time.Time
	pause     time.Duration
}

// DeadlineExceeded is the reason of a pod whose activeDeadlineSeconds have passed.
const DeadlineExceeded = "DeadlineExceeded"

// Failure is why a pod failed as a whole, in its status' words.
type Failure struct{ Reason, Message string }

// Termination is until when the containers of a deleted pod may end by themselves.
type Termination struct {
	Deadline time.Time
	Grace    time.Duration // as last asked for
}

// Container is what is known of the newest container of a name.
type Container struct {
	Spec      *corev1.Container
	Init      bool
	Ephemeral bool   // added to the running pod: it starts once, beside the others
	Target    string // the container whose processes it sees; may be empty

	Busy     bool // an operation on it is under way
	Made     bool // full is of a container that was made
	Ran      bool // attempt is of a container that was made, once
	Current  bool // it was made in the sandbox that there is
	Attempt  uint32
	Full     runtime.Container
	ImageRef string // what the image is known as
	Previous *corev1.ContainerStateTerminated
	end      *corev1.ContainerStateTerminated // of one that ran before this agent did, where the runtime has it no more
	OldID    string                           // the one before, still in the runtime

	Image          *Probes // of its image; nil: none count
	Hooked         bool    // postStart is through
	PreStopped     bool    // preStop is through
	Started, Ready bool    // as the probes say
	Kill           *KillOrder
	Renew          bool                        // it ends to be started again, whatever its policy says
	CPUs, Pin      string                      // those that the one that was made runs on, and should
	Limits         corev1.ResourceRequirements // what the one that was made is limited to

	WaitReason, WaitMessage string
	NotBefore               time.Time     // of the next start
	Pause                   time.Duration // of the crash back-off; 0: it never crashed
}

// Probes are those that a container has by its image: whether it is ready, and, where that
// is not nil, whether it is to go on.
type Probes struct{ Ready, Live *corev1.Probe }

// Of returns the container with these probes; itself where there are none.
func (p *Probes) Of(spec *corev1.Container) *corev1.Container {
	if p == nil {
		return spec
	}
	next := *spec
	next.ReadinessProbe, next.LivenessProbe = p.Ready, p.Live
	return &next
}

// KillOrder is why one container must end while its pod goes on.
type KillOrder struct {
	Message string
	Grace   time.Duration
}

// Sidecar reports whether it is an init container that goes on beside the others.
func (c *Container) Sidecar() bool { return c.Init && cgroup.Sidecar(c.Spec) }

// Running reports whether it runs.
func (c *Container) Running() bool { return c.Made && c.Full.State == runtime.Running }

// Exited reports whether it ran, or tried to, and has ended.
func (c *Container) Exited() bool { return c.Made && c.Full.State == runtime.Exited }

// Step is what to do next; its parts are independent of each other and may run
// at the same time.
type Step struct {
	Prepare bool
	Sandbox bool
	Start   []string
	Hook    []string
	Kill    []Kill
	Resize  bool // bring limits to what was granted
	End     bool // stop the sandbox for good, the pod stays
	Remove  bool
	Fail    *Failure
	Next    time.Time // look again then, zero: when something changes
}

// Kill is a container that is to end, and by when.
type Kill struct {
	Name     string
	Message  string
	Deadline time.Time
}

// At asks to be looked at again at t, or earlier if something else wants it.
func (s *Step) At(t time.Time) {
	if s.Next.IsZero() || t.Before(s.Next) {
		s.Next = t
	}
}

// Decide returns what to do next for the pod. It is pure, and asked again after
// everything that changes.
func Decide(p *corev1.Pod, o *Observed, now time.Time) Step {
	switch {
	case !o.Adopted || o.Gone:
		return Step{}
	case o.Terminating != nil:
		return decideRemoval(p, o, now)
	case Finished(p, o):
		return decideEnd(p, o, now)
	}
	var s Step
	if d := p.Spec.ActiveDeadlineSeconds; d != nil {
		at := o.Since.Add(time.Duration(*d) * time.Second)
		if !now.Before(at) {
			s.Fail = &Failure{DeadlineExceeded, "Pod was active on the node longer than the specified deadline"}
			return s
		}
		s.At(at)
	}
	for _, c := range ordered(p, o) {
		switch {
		case c.Busy || !c.Running():
		case c.Kill != nil:
			s.Kill = append(s.Kill, Kill{c.Spec.Name, c.Kill.Message, now.Add(c.Kill.Grace)})
		case !c.Hooked:
			s.Hook = append(s.Hook, c.Spec.Name)
		}
	}
	decideResize(o, now, &s)
	decideStart(p, o, now, &s)
	return s
}

// decideStart adds what brings the next containers up.
func decideStart(p *corev1.Pod, o *Observed, now time.Time, s *Step) {
	if !o.Prepared && !o.Preparing {
		if now.Before(o.PrepareRetry.NotBefore) {
			s.At(o.PrepareRetry.NotBefore)
		} else {
			s.Prepare = true
		}
	}
	want := append(Wanted(p, o), added(p, o)...)
	if !o.Prepared || len(want) == 0 && !orphaned(o) {
		return
	}
	if !o.Sandbox.Ready {
		switch {
		case o.Sandbox.Busy || AnyBusy(o):
		case now.Before(o.Sandbox.Retry.NotBefore):
			s.At(o.Sandbox.Retry.NotBefore)
		default:
			s.Sandbox = true
		}
		return
	}
	if o.Resize.Widen {
		return // a container's limit may not be above its pod's
	}
	for _, c := range want {
		switch {
		case c.Busy:
		case now.Before(c.NotBefore):
			s.At(c.NotBefore)
		default:
			s.Start = append(s.Start, c.Spec.Name)
		}
	}
}

// orphaned reports whether the sandbox has died and containers of it still run:
// they share namespaces that nothing can be added to any more.
func orphaned(o *Observed) bool {
	if !o.Sandbox.Made || o.Sandbox.Ready {
		return false
	}
	for _, c := range o.Containers {
		if c.Current && c.Running() {
			return true
		}
	}
	return false
}

// Wanted returns the containers that should be running and are not.
func Wanted(p *corev1.Pod, o *Observed) []*Container {
	var out []*Container
	for i := range p.Spec.InitContainers {
		c := o.Containers[p.Spec.InitContainers[i].Name]
		up := c.Current && c.Running()
		switch {
		case c.Sidecar() && !up:
			out = append(out, c)
			if !o.Initialized {
				return out
			}
		case o.Initialized:
		case c.Sidecar() && !(c.Started && c.Hooked):
			return out
		case c.Sidecar(), c.Current && c.Exited() && c.Full.ExitCode == 0:
		case up:
			return out
		default:
			return append(out, c)
		}
	}
	for i := range p.Spec.Containers {
		c := o.Containers[p.Spec.Containers[i].Name]
		if !c.Running() && Restarts(p, c) {
			out = append(out, c)
		}
	}
	return out
}

// added returns the ephemeral containers that have not run yet.
func added(p *corev1.Pod, o *Observed) []*Container {
	var out []*Container
	for i := range p.Spec.EphemeralContainers {
		if c := o.Containers[p.Spec.EphemeralContainers[i].Name]; !c.Made && !c.Ran {
			out = append(out, c)
		}
	}
	return out
}

// Initialized reports whether the init containers let the others start.
func Initialized(p *corev1.Pod, o *Observed) bool {
	if o.Initialized {
		return true
	}
	for i := range p.Spec.InitContainers {
		c := o.Containers[p.Spec.InitContainers[i].Name]
		done := c.Current && c.Exited() && c.Full.ExitCode == 0
		if c.Sidecar() {
			done = c.Current && c.Running() && c.Started && c.Hooked
		}
		if !done {
			return false
		}
	}
	return true
}

// Restarts reports whether a container that does not run should.
func Restarts(p *corev1.Pod, c *Container) bool {
	if c.Ephemeral {
		return !c.Made && !c.Ran
	}
	if c.Sidecar() || !c.Exited() || c.Renew {
		return true
	}
	return object.RestartsAfter(p, c.Spec, c.Full.ExitCode)
}

// Finished reports whether nothing of the pod may run again.
func Finished(p *corev1.Pod, o *Observed) bool {
	if o.Ended || o.Failure != nil || initFailed(p, o) {
		return true
	}
	for i := range p.Spec.Containers {
		c := o.Containers[p.Spec.Containers[i].Name]
		if c.Running() || Restarts(p, c) {
			return false
		}
	}
	return true
}

func initFailed(p *corev1.Pod, o *Observed) bool {
	if o.Initialized {
		return false
	}
	for i := range p.Spec.InitContainers {
		c := o.Containers[p.Spec.InitContainers[i].Name]
		if !c.Sidecar() && c.Exited() && c.Full.ExitCode != 0 && !Restarts(p, c) {
			return true
		}
	}
	return false
}

// decideEnd stops what is left of a pod that has finished.
func decideEnd(p *corev1.Pod, o *Observed, now time.Time) Step {
	var s Step
	message := ""
	if o.Failure != nil {
		message = o.Failure.Message
	}
	grace := GraceOf(p)
	if o.Grace != nil {
		grace = *o.Grace
	}
	if !stopAll(p, o, now.Add(grace), message, &s) {
		return s
	}
	if !o.Stopped && o.Sandbox.ID != "" && !o.Sandbox.Busy {
		if now.Before(o.Sandbox.Retry.NotBefore) {
			s.At(o.Sandbox.Retry.NotBefore)
		} else {
			s.End = true
		}
	}
	return s
}

// decideRemoval stops everything of a deleted pod and takes it away.
func decideRemoval(p *corev1.Pod, o *Observed, now time.Time) Step {
	var s Step
	if !stopAll(p, o, o.Terminating.Deadline, "", &s) || o.Preparing || o.Sandbox.Busy || o.Removing {
		return s
	}
	if now.Before(o.RemoveRetry.NotBefore) {
		s.At(o.RemoveRetry.NotBefore)
	} else {
		s.Remove = true
	}
	return s
}

// stopAll adds the next kills and reports whether everything has ended: first
// the containers, then the sidecars, the last one first (Kubernetes, "Sidecar
// containers: termination").
func stopAll(p *corev1.Pod, o *Observed, deadline time.Time, why string, s *Step) bool {
	all, up := ordered(p, o), 0
	for _, c := range all {
		if c.Sidecar() || !c.Busy && !c.Running() {
			continue
		}
		up++
		if !c.Busy {
			s.Kill = append(s.Kill, Kill{c.Spec.Name, why, deadline})
		}
	}
	for i := len(all) - 1; i >= 0 && up == 0; i-- {
		c := all[i]
		if !c.Sidecar() || !c.Busy && !c.Running() {
			continue
		}
		up++
		if !c.Busy {
			s.Kill = append(s.Kill, Kill{c.Spec.Name, why, deadline})
		}
	}
	return up == 0
}

// ordered returns the containers in the order of the spec, init ones first,
// ephemeral ones last.
func ordered(p *corev1.Pod, o *Observed) []*Container {
	out := make([]*Container, 0, len(o.Containers))
	for i := range p.Spec.InitContainers {
		out = append(out, o.Containers[p.Spec.InitContainers[i].Name])
	}
	for i := range p.Spec.Containers {
		out = append(out, o.Containers[p.Spec.Containers[i].Name])
	}
	for i := range p.Spec.EphemeralContainers {
		out = append(out, o.Containers[p.Spec.EphemeralContainers[i].Name])
	}
	return out
}

// AnyBusy reports whether an operation on any container is under way.
func AnyBusy(o *Observed) bool {
	for _, c := range o.Containers {
		if c.Busy {
			return true
		}
	}
	return false
}

// GraceOf returns how long the pod's containers get to end.
func GraceOf(p *corev1.Pod) time.Duration {
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
	CrashPauseMax   = 5 * time.Minute
	crashReset      = 10 * time.Minute
	ReasonCrashLoop = "CrashLoopBackOff"
)

// Crashed notes that the container has ended, and when it may start again. The runtime
// tells when by the node's clock; what follows goes by now's monotonic reading, so that
// a clock that was set, also back, makes no pause longer.
func (c *Container) Crashed(now time.Time) {
	if !c.Full.Started.IsZero() && c.Full.Finished.Sub(c.Full.Started) >= crashReset { // one that never started ran for no time
		c.Pause = 0
	}
	ago := max(now.Sub(c.Full.Finished), 0)
	if c.NotBefore = now.Add(c.Pause - ago); c.Renew {
		c.NotBefore = time.Time{}
	}
}

// Restarted notes that a container that had ended was started again.
func (c *Container) Restarted(pauseMin time.Duration) {
	c.Pause = min(max(c.Pause*2, pauseMin), CrashPauseMax)
}

// Again returns when to retry after one more failure.
func (r Retry) Again(now time.Time, pauseMax time.Duration) Retry {
	r.pause = min(max(r.pause*2, RetryMin), pauseMax)
	r.NotBefore = now.Add(r.pause)
	return r
}

// The pauses after a volume, a sandbox or a removal that failed.
const (
	RetryMin = 500 * time.Millisecond
	RetryMax = 30 * time.Second
)

// Lost notes that the container's sandbox is not there any more.
func (c *Container) Lost(now time.Time) {
	c.Current, c.OldID = false, ""
	if c.Made && c.Full.State != runtime.Exited {
		c.Full.State, c.Full.ExitCode, c.Full.Reason, c.Full.Finished = runtime.Exited, exitUnknown, reasonStatusUnknown, now
		c.Full.Message = messageNotLocated
		c.Crashed(now)
	}
}

// Seed takes over what the last report said of a container that may be gone
// from the runtime.
func (c *Container) Seed(pod *corev1.Pod) {
	for _, list := range ContainerStatuses(&pod.Status) {
		for i := range list {
			if st := &list[i]; st.Name == c.Spec.Name && st.ContainerID != "" {
				c.Attempt, c.Ran = uint32(st.RestartCount), true
				c.Previous = st.LastTerminationState.Terminated
				c.end = endOf(st)
			}
		}
	}
}

// endOf is the end of a container that the runtime has forgotten: the one that was
// reported, else an unknown one.
func endOf(st *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if st.State.Terminated != nil {
		return st.State.Terminated
	}
	return &corev1.ContainerStateTerminated{
		ExitCode: exitUnknown, Reason: reasonStatusUnknown, Message: messageNotLocated, ContainerID: st.ContainerID,
	}
}
