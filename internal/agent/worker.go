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

	pod        *corev1.Pod
	o          observed
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
	touched    time.Time // when the newest operation on the runtime ended
	shown      shown
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
	w.o.containers = map[string]*containerState{}
	w.o.since = time.Now()
	if t := pod.Status.StartTime; t != nil {
		w.o.since = t.Time
	}
	w.o.ended = object.PodEnded(pod)
	w.reported = pod.Status.DeepCopy()
	// Nothing counts as sent: what an agent before this one said may be lost.
	w.setPod(pod)
	w.show(w.reported)
	return w
}

// run works until the pod is gone or ctx ends; what it started has returned then.
func (w *worker) run(ctx context.Context) {
	defer w.ops.Wait()
	defer close(w.ended)
	defer w.stopProbes()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	w.adoptPod(ctx)
	for {
		next := w.turn(ctx)
		if w.o.gone {
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
	if w.o.adopted {
		w.o.initialized = initialized(w.pod, &w.o)
	}
	s := decide(w.pod, &w.o, time.Now())
	for s.fail != nil {
		w.o.failure = s.fail
		w.event(corev1.EventTypeNormal, s.fail.reason, s.fail.message, "")
		s = decide(w.pod, &w.o, time.Now())
	}
	w.execute(ctx, s)
	w.lookNow(ctx)
	w.keepProbes(ctx)
	if at := w.report(); !at.IsZero() {
		s.at(at)
	}
	return s.next
}

func (w *worker) execute(ctx context.Context, s step) {
	if s.prepare {
		w.prepare(ctx)
	}
	if s.sandbox {
		w.makeSandbox(ctx)
	}
	for _, name := range s.start {
		w.start(ctx, w.o.containers[name])
	}
	for _, name := range s.hook {
		w.postStart(ctx, w.o.containers[name])
	}
	for _, k := range s.kill {
		w.kill(ctx, k)
	}
	if s.end {
		w.end(ctx)
	}
	if s.remove {
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
	w.tell(ctx, func() {
		w.setPod(pod)
		w.retryNow()
	})
}

func (w *worker) setPod(pod *corev1.Pod) {
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
		c := w.o.containers[e.Name]
		c.ephemeral, c.target = true, e.TargetContainerName
	}
	if pod.DeletionTimestamp != nil {
		w.terminate(graceOf(pod))
	}
}

func (w *worker) setContainer(spec *corev1.Container, init bool) {
	c := w.o.containers[spec.Name]
	if c == nil {
		c = &containerState{spec: spec, init: init}
		w.o.containers[spec.Name] = c
		c.seed(w.pod)
	} else if c.spec.Image != spec.Image && c.running() && (!init || c.sidecar()) {
		c.kill = &killOrder{"Container " + spec.Name + " definition changed, will be restarted", graceOf(w.pod)}
	}
	c.spec = spec
}

// seed takes over what the last report said of a container that may be gone
// from the runtime.
func (c *containerState) seed(pod *corev1.Pod) {
	for _, list := range containerStatuses(&pod.Status) {
		for i := range list {
			if st := &list[i]; st.Name == c.spec.Name && st.ContainerID != "" {
				c.attempt, c.ran = uint32(st.RestartCount), true
				c.previous = st.LastTerminationState.Terminated
			}
		}
	}
}

// terminate begins the pod's end, or brings it nearer.
func (w *worker) terminate(grace time.Duration) {
	deadline := time.Now().Add(grace)
	t := w.o.terminating
	switch {
	case t == nil:
		w.o.terminating = &termination{deadline, grace}
		for name, cancel := range w.starts {
			cancel()
			delete(w.starts, name)
		}
	case grace < t.grace && deadline.Before(t.deadline):
		t.deadline, t.grace = deadline, grace
		for name, cancel := range w.kills {
			cancel()
			delete(w.kills, name)
		}
	}
}

// retryNow forgets the pauses that a changed object may have made pointless;
// crashes and failed pulls keep theirs.
func (w *worker) retryNow() {
	w.o.prepareRetry.notBefore = time.Time{}
	for _, c := range w.o.containers {
		if c.waitReason == reasonConfig {
			c.notBefore = time.Time{}
		}
	}
}

// quietDelay is how long a report that only says "not yet" waits for a better
// one: most pods run before it is over, and a report is a write of the store.
const quietDelay = 500 * time.Millisecond

// report sends the status if it changed, and returns when to send one that waits.
func (w *worker) report() time.Time {
	if !w.o.adopted || w.o.gone {
		return time.Time{}
	}
	now := time.Now()
	st := statusOf(w.pod, &w.o, nodeFacts{w.a.cfg.NodeIP.String()}, w.reported, now)
	w.reported = st
	w.show(st)
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
			if w == nil || w.Reason != reasonCreating && w.Reason != reasonInitializing || list[i].RestartCount > 0 {
				return false
			}
		}
	}
	return true
}

func (w *worker) show(st *corev1.PodStatus) {
	containers := make(map[string]shownContainer, len(w.o.containers))
	for name, c := range w.o.containers {
		if c.made {
			containers[name] = shownContainer{c.full.ID, c.full.ImageID, c.attempt, c.running()}
		}
	}
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	same := maps.Equal(containers, w.shown.containers)
	w.shown.pod, w.shown.status, w.shown.sandbox = w.pod, st, w.o.sandbox.id
	if !same {
		w.shown.containers = containers
	}
}
