package agent

import (
	"context"
	"errors"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/machine"
	"trireme/internal/agent/probe"
	"trireme/internal/wire"
)

// graceMin is what a container gets between its stop signal and the kill however
// long its preStop hook took.
const graceMin = 2 * time.Second

// settlePause is what a container that serves gets between the end of its
// endpoint and its stop signal. The node's rules send it nothing new by then; what
// they let through before waits in its listener to be accepted, and a server that
// closes its listener on the signal would reset that.
const settlePause = 250 * time.Millisecond

// settle waits for settlePause, or until ctx ends.
func settle(ctx context.Context) {
	t := time.NewTimer(settlePause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// kill ends a container: its preStop hook, the stop signal, and the kill at the
// deadline.
func (w *worker) kill(ctx context.Context, k machine.Kill) {
	c := w.o.Containers[k.Name]
	c.Busy = true
	id, hook := c.Full.ID, (*corev1.LifecycleHandler)(nil)
	if c.Spec.Lifecycle != nil && !c.PreStopped && time.Until(k.Deadline) > 0 {
		hook = c.Spec.Lifecycle.PreStop
	}
	opCtx, cancel := context.WithCancel(ctx)
	w.kills[k.Name] = cancel
	message := "Stopping container " + k.Name
	if k.Message != "" {
		message = k.Message
	}
	if !c.PreStopped {
		w.event(corev1.EventTypeNormal, "Killing", message, k.Name)
	}
	target := w.target(c)
	// One that ends at its deadline may serve by a port that nobody has declared.
	serves := w.o.Terminating != nil && len(c.Spec.Ports) > 0 || w.o.Failure != nil && w.o.Failure.Reason == machine.DeadlineExceeded
	serves = serves && hook == nil && c.Ready && time.Until(k.Deadline) > graceMin
	ends := w.o.Terminating != nil
	w.op(ctx, func() func() {
		defer cancel()
		if serves {
			settle(opCtx)
		}
		if ends {
			w.a.executors.Finish(opCtx, w.uid, k.Deadline)
		}
		hookErr := probe.Hook(opCtx, hook, target, k.Deadline)
		grace := max(time.Until(k.Deadline), 0)
		if hook != nil && grace < graceMin {
			grace = graceMin
		}
		err := w.a.cfg.Runtime.StopContainer(opCtx, id, grace)
		return func() { w.killed(ctx, c, id, hookErr, err) }
	})
}

func (w *worker) killed(ctx context.Context, c *machine.Container, id string, hookErr, err error) {
	delete(w.kills, c.Spec.Name)
	c.PreStopped = true
	if hookErr != nil && !errors.Is(hookErr, context.Canceled) {
		w.event(corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: "+hookErr.Error(), c.Spec.Name)
	}
	if err != nil {
		c.Busy = false // a shorter grace, or a runtime that does not answer: decide again
		if !errors.Is(err, context.Canceled) {
			w.log.Warn("stopping a container", "container", c.Spec.Name, "err", err)
			c.Busy = true
			w.later(ctx, machine.RetryMin, func() { c.Busy = false })
		}
		return
	}
	w.op(ctx, func() func() { // its exit code, before anything else happens to it
		full := w.a.inspect(ctx, id)
		return func() {
			if full == nil { // the runtime does not answer
				w.later(ctx, machine.RetryMin, func() { c.Busy = false })
				return
			}
			c.Busy = false
			w.observe(c, id, full)
		}
	})
}

// later applies f after d.
func (w *worker) later(ctx context.Context, d time.Duration, f func()) {
	w.op(ctx, func() func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		return f
	})
}

// end stops the sandbox of a pod that has finished. It stays in the runtime as
// the record of what ran.
func (w *worker) end(ctx context.Context) {
	sb := &w.o.Sandbox
	sb.Busy = true
	id := sb.ID
	w.op(ctx, func() func() {
		err := w.a.cfg.Runtime.StopSandbox(ctx, id)
		if err == nil { // others may want its volumes
			err = w.a.drivers.Unpublish(w.uid)
		}
		return func() {
			sb.Busy = false
			if err != nil {
				w.log.Warn("stopping the sandbox", "err", err)
				sb.Retry = sb.Retry.Again(time.Now(), machine.RetryMax)
				return
			}
			sb.Ready, w.o.Stopped = false, true
		}
	})
}

// remove takes away everything of a pod and says that it is gone.
func (w *worker) remove(ctx context.Context) {
	w.o.Removing = true
	pod, ids := w.pod, w.sandboxIDs()
	w.op(ctx, func() func() {
		err := w.a.removePod(ctx, pod, ids)
		return func() {
			w.o.Removing = false
			if err != nil {
				w.log.Warn("removing the pod", "err", err)
				w.event(corev1.EventTypeWarning, "FailedKillPod", "error killing pod: "+err.Error(), "")
				w.o.RemoveRetry = w.o.RemoveRetry.Again(time.Now(), machine.RetryMax)
				return
			}
			w.o.Gone = true
			w.a.executors.Gone(w.uid)
			w.a.session.ReportPod(wire.PodReport{Key: w.key, UID: w.uid, Status: w.reported, Gone: true})
		}
	})
}

// sandboxIDs are those of the pod that may be there, older ones included.
func (w *worker) sandboxIDs() []string {
	var ids []string
	for _, s := range w.adopt {
		ids = append(ids, s.ID)
	}
	if id := w.o.Sandbox.ID; id != "" {
		ids = append(ids, id)
	}
	return ids
}

func (a *Agent) removePod(ctx context.Context, pod *corev1.Pod, sandboxes []string) error {
	for _, id := range sandboxes {
		if err := a.removeSandbox(ctx, id); err != nil {
			return err
		}
	}
	a.leaveSandbox(pod)
	return errors.Join(a.volumes.Teardown(pod.UID), a.cgroups.Remove(pod.UID), os.RemoveAll(a.logDir(pod)))
}

func (a *Agent) removeSandbox(ctx context.Context, id string) error {
	if err := a.cfg.Runtime.StopSandbox(ctx, id); err != nil {
		return err
	}
	return a.cfg.Runtime.RemoveSandbox(ctx, id)
}
