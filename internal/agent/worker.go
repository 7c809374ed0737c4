package agent

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/grant"
	"trireme/internal/agent/machine"
	"trireme/internal/agent/volume"
	"trireme/internal/object"
	"trireme/internal/runtime"
	"trireme/internal/wire"
)

// worker runs one pod. Its goroutine owns everything below inbox; operations
// run beside it and come back through inbox.
type worker struct {
	a     *Agent
	key   object.Key
	uid   types.UID
	log   *slog.Logger
	inbox chan func()
	ended chan struct{} // closed when nothing reads inbox any more

	pod        *corev1.Pod // as it may be run: with what was granted
	asked      *corev1.Pod // as assigned
	o          machine.Observed
	volumes    map[string]volume.Volume
	sandbox    *runtime.SandboxConfig
	adopt      []runtime.Sandbox // what the runtime had when the agent started
	reported   *corev1.PodStatus // as last made
	sent       *corev1.PodStatus // as last sent
	quietUntil time.Time         // when a report that waits is sent; zero: none waits
	ops        sync.WaitGroup
	starts     map[string]context.CancelFunc // of operations that a deletion interrupts
	kills      map[string]context.CancelFunc // of kills that a shorter grace interrupts
	probes     map[string]context.CancelFunc // by container name
	look       lookState
	touched    time.Time       // when the newest operation on the runtime ended
	waiters    []chan struct{} // closed once nothing of the pod runs
	stale      bool            // the volumes' content changed while they were made
	growth     growth          // of its volumes
	released   bool            // what it was granted is the node's again
	freed      []types.UID     // who was granted what the pod needs less since the agent last ran
	shown      shown
}

// growth is how far the pod's volumes have grown on this node.
type growth struct {
	busy, again bool // some grow now; the volumes have changed meanwhile
	waits       bool // for the next try
	retry       machine.Retry
}

// lookState keeps the looks at the runtime apart from each other.
type lookState struct{ wanted, busy bool }

// shown is what others may read of a worker: a snapshot after each turn.
type shown struct {
	mu sync.Mutex

	pod        *corev1.Pod
	status     *corev1.PodStatus
	sandbox    string
	containers map[string]shownContainer
}

type shownContainer struct {
	id, imageID string
	attempt     uint32
	running     bool
}

// inboxMax bounds what may wait for a worker: it empties its inbox at once.
const inboxMax = 64

func newWorker(a *Agent, pod *corev1.Pod, adopt []runtime.Sandbox) *worker {
	w := &worker{
		a: a, key: object.KeyOf(pod), uid: pod.UID, inbox: make(chan func(), inboxMax), ended: make(chan struct{}), adopt: adopt,
		log:    a.cfg.Log.With("pod", object.KeyOf(pod).String()),
		starts: map[string]context.CancelFunc{}, kills: map[string]context.CancelFunc{}, probes: map[string]context.CancelFunc{},
	}
	w.o.Containers = map[string]*machine.Container{}
	w.o.Since = time.Now()
	if t := pod.Status.StartTime; t != nil {
		w.o.Since = t.Time
	}
	w.o.Ended = object.PodEnded(pod)
	w.reported = pod.Status.DeepCopy()
	// Nothing counts as sent: what an agent before this one said may be lost.
	w.freed = w.setPod(pod)
	w.show(w.reported)
	return w
}

// run works until the pod is gone or ctx ends; what it started has returned then.
func (w *worker) run(ctx context.Context) {
	defer w.ops.Wait()
	defer close(w.ended)
	defer w.stopProbes()
	defer w.tellGone()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	w.adoptPod(ctx)
	w.passOn(w.freed)
	for {
		next := w.turn(ctx)
		if w.o.Gone {
			return
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = max(time.Until(next), 0)
		}
		timer.Reset(wait)
		select {
		case f := <-w.inbox:
			f()
			w.drain()
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *worker) drain() {
	for {
		select {
		case f := <-w.inbox:
			f()
		default:
			return
		}
	}
}

// turn does what is to be done now and returns when to look again.
func (w *worker) turn(ctx context.Context) time.Time {
	if w.o.Adopted {
		w.o.Initialized = machine.Initialized(w.pod, &w.o)
	}
	if w.o.Adopted {
		w.pin()
		w.orderRestarts()
	}
	s := machine.Decide(w.pod, &w.o, time.Now())
	for s.Fail != nil {
		w.o.Failure = s.Fail
		w.event(corev1.EventTypeNormal, s.Fail.Reason, s.Fail.Message, "")
		s = machine.Decide(w.pod, &w.o, time.Now())
	}
	w.execute(ctx, s)
	w.lookNow(ctx)
	w.keepProbes(ctx)
	w.followOutputs(ctx)
	if at := w.report(); !at.IsZero() {
		s.At(at)
	}
	return s.Next
}

func (w *worker) execute(ctx context.Context, s machine.Step) {
	if s.Prepare {
		w.prepare(ctx)
	}
	if s.Sandbox {
		w.makeSandbox(ctx)
	}
	for _, name := range s.Start {
		w.start(ctx, w.o.Containers[name])
	}
	for _, name := range s.Hook {
		w.postStart(ctx, w.o.Containers[name])
	}
	if s.Resize {
		w.resize(ctx)
	}
	for _, k := range s.Kill {
		w.kill(ctx, k)
	}
	if s.End {
		w.end(ctx)
	}
	if s.Remove {
		w.remove(ctx)
	}
}

// tell hands f to the worker's goroutine; false: ctx or the worker ended first.
func (w *worker) tell(ctx context.Context, f func()) bool {
	select {
	case w.inbox <- f:
		return true
	case <-w.ended:
		return false
	case <-ctx.Done():
		return false
	}
}

// op runs f beside the worker and applies what it returns. f may give up early
// on a context of its own; ctx is the worker's.
func (w *worker) op(ctx context.Context, f func() func()) {
	w.ops.Go(func() {
		apply := f()
		w.tell(ctx, func() {
			w.touched = time.Now()
			apply()
		})
	})
}

// update gives the worker a newer version of its pod.
func (w *worker) update(ctx context.Context, pod *corev1.Pod) {
	w.tell(ctx, func() { w.take(ctx, pod) })
}

// granted says that what the pod asked for was granted.
func (w *worker) granted(ctx context.Context) {
	w.tell(ctx, func() { w.take(ctx, w.asked) })
}

func (w *worker) take(ctx context.Context, pod *corev1.Pod) {
	old := w.pod
	more := w.setPod(pod)
	w.passOn(more)
	w.retryNow()
	if !grant.SamePod(old, w.pod) || !maps.Equal(old.Labels, w.pod.Labels) || !maps.Equal(old.Annotations, w.pod.Annotations) {
		w.rewrite(ctx) // volumes may tell of these
	}
}

// setPod takes over a version of the pod, and returns the pods that were granted
// what this one needs no more.
func (w *worker) setPod(pod *corev1.Pod) (more []types.UID) {
	w.asked = pod
	pod, more = w.grantedPod(pod)
	pod = w.a.addressed(pod)
	w.pod = pod
	for i := range pod.Spec.InitContainers {
		w.setContainer(&pod.Spec.InitContainers[i], true)
	}
	for i := range pod.Spec.Containers {
		w.setContainer(&pod.Spec.Containers[i], false)
	}
	for i := range pod.Spec.EphemeralContainers {
		e := &pod.Spec.EphemeralContainers[i]
		spec := corev1.Container(e.EphemeralContainerCommon)
		w.setContainer(&spec, false)
		c := w.o.Containers[e.Name]
		c.Ephemeral, c.Target = true, e.TargetContainerName
	}
	if pod.DeletionTimestamp != nil {
		w.terminate(machine.GraceOf(pod))
	}
	return more
}

func (w *worker) setContainer(spec *corev1.Container, init bool) {
	c := w.o.Containers[spec.Name]
	if c == nil {
		c = &machine.Container{Spec: spec, Init: init}
		w.o.Containers[spec.Name] = c
		c.Seed(w.pod)
	} else if c.Spec.Image != spec.Image && c.Running() && (!init || c.Sidecar()) {
		c.Kill = &machine.KillOrder{Message: "Container " + spec.Name + " definition changed, will be restarted", Grace: machine.GraceOf(w.pod)}
		c.Renew = true
	}
	c.Spec = c.Image.Of(spec)
}

// terminate begins the pod's end, or brings it nearer.
func (w *worker) terminate(grace time.Duration) {
	deadline := time.Now().Add(grace)
	t := w.o.Terminating
	switch {
	case t == nil:
		w.o.Terminating = &machine.Termination{Deadline: deadline, Grace: grace}
		for name, cancel := range w.starts {
			cancel()
			delete(w.starts, name)
		}
	case grace < t.Grace && deadline.Before(t.Deadline):
		t.Deadline, t.Grace = deadline, grace
		for name, cancel := range w.kills {
			cancel()
			delete(w.kills, name)
		}
	}
}

// retryNow forgets the pauses that a changed object may have made pointless;
// crashes and failed pulls keep theirs.
func (w *worker) retryNow() {
	w.o.PrepareRetry.NotBefore = time.Time{}
	for _, c := range w.o.Containers {
		if c.WaitReason == reasonConfig {
			c.NotBefore = time.Time{}
		}
	}
}

// quietDelay is how long a report that only says "not yet" waits for a better
// one: most pods run before it is over, and a report is a write of the store.
const quietDelay = 500 * time.Millisecond

// report sends the status if it changed, and returns when to send one that waits.
func (w *worker) report() time.Time {
	if !w.o.Adopted || w.o.Gone {
		return time.Time{}
	}
	now := time.Now()
	st := machine.Status(w.pod, &w.o, machine.Node{IPs: w.a.cfg.NodeIPs}, w.reported, now)
	w.reported = st
	w.show(st)
	w.a.executors.Observe(w.pod, st)
	if object.PodEnded(&corev1.Pod{Status: *st}) {
		w.tellGone()
		if !w.released {
			w.released = true
			w.passOn(w.a.grants.Release(w.uid))
			w.a.releaseHardware(w.uid)
		}
	}
	if reflect.DeepEqual(st, w.sent) {
		w.quietUntil = time.Time{}
		return time.Time{}
	}
	if quiet(st) {
		if w.quietUntil.IsZero() {
			w.quietUntil = now.Add(quietDelay)
		}
		if now.Before(w.quietUntil) {
			return w.quietUntil
		}
	}
	w.sent, w.quietUntil = st, time.Time{}
	w.a.session.ReportPod(wire.PodReport{Key: w.key, UID: w.uid, Status: st})
	return time.Time{}
}

// quiet reports whether a status says nothing but that the pod is on its way.
func quiet(st *corev1.PodStatus) bool {
	if st.Phase != corev1.PodPending {
		return false
	}
	for _, list := range [][]corev1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses} {
		for i := range list {
			w := list[i].State.Waiting
			if w == nil || w.Reason != machine.ReasonCreating && w.Reason != machine.ReasonInitializing || list[i].RestartCount > 0 {
				return false
			}
		}
	}
	return true
}

func (w *worker) show(st *corev1.PodStatus) {
	containers := make(map[string]shownContainer, len(w.o.Containers))
	for name, c := range w.o.Containers {
		if c.Made {
			containers[name] = shownContainer{c.Full.ID, c.Full.ImageID, c.Attempt, c.Running()}
		}
	}
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	same := maps.Equal(containers, w.shown.containers)
	w.shown.pod, w.shown.status, w.shown.sandbox = w.pod, st, w.o.Sandbox.ID
	if !same {
		w.shown.containers = containers
	}
}
