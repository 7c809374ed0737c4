package agent

import (
	"context"
	"errors"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

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
func (w *worker) kill(ctx context.Context, k kill) {
	c := w.o.containers[k.name]
	c.busy = true
	id, hook := c.full.ID, (*corev1.LifecycleHandler)(nil)
	if c.spec.Lifecycle != nil && !c.preStopped && time.Until(k.deadline) > 0 {
		hook = c.spec.Lifecycle.PreStop
	}
	opCtx, cancel := context.WithCancel(ctx)
	w.kills[k.name] = cancel
	message := "Stopping container " + k.name
	if k.message != "" {
		message = k.message
	}
	if !c.preStopped {
		w.event(corev1.EventTypeNormal, "Killing", message, k.name)
	}
	target := w.target(c)
	serves := w.o.terminating != nil && hook == nil && c.ready && len(c.spec.Ports) > 0 && time.Until(k.deadline) > graceMin
	w.op(ctx, func() func() {
		defer cancel()
		if serves {
			settle(opCtx)
		}
		hookErr := runHook(opCtx, hook, target, k.deadline)
		grace := max(time.Until(k.deadline), 0)
		if hook != nil && grace < graceMin {
			grace = graceMin
		}
		err := w.a.cfg.Runtime.StopContainer(opCtx, id, grace)
		return func() { w.killed(ctx, c, id, hookErr, err) }
	})
}

func (w *worker) killed(ctx context.Context, c *containerState, id string, hookErr, err error) {
	delete(w.kills, c.spec.Name)
	c.preStopped = true
	if hookErr != nil && !errors.Is(hookErr, context.Canceled) {
		w.event(corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: "+hookErr.Error(), c.spec.Name)
	}
	if err != nil {
		c.busy = false // a shorter grace, or a runtime that does not answer: decide again
		if !errors.Is(err, context.Canceled) {
			w.log.Warn("stopping a container", "container", c.spec.Name, "err", err)
			c.busy = true
			w.later(ctx, retryMin, func() { c.busy = false })
		}
		return
	}
	w.op(ctx, func() func() { // its exit code, before anything else happens to it
		full := w.a.inspect(ctx, id)
		return func() {
			if full == nil { // the runtime does not answer
				w.later(ctx, retryMin, func() { c.busy = false })
				return
			}
			c.busy = false
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

// runHook runs a lifecycle hook; nil is no hook.
func runHook(ctx context.Context, h *corev1.LifecycleHandler, t probe.Target, deadline time.Time) error {
	if h == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	switch {
	case h.Exec != nil:
		out, code, err := t.Exec(ctx, h.Exec.Command, time.Until(deadline))
		if err == nil && code != 0 {
			err = hookExit{code, out}
		}
		return err
	case h.HTTPGet != nil:
		status, _, err := t.Get(ctx, h.HTTPGet)
		if err == nil && status >= 400 {
			err = hookStatus(status)
		}
		return err
	case h.Sleep != nil:
		timer := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// end stops the sandbox of a pod that has finished. It stays in the runtime as
// the record of what ran.
func (w *worker) end(ctx context.Context) {
	sb := &w.o.sandbox
	sb.busy = true
	id := sb.id
	w.op(ctx, func() func() {
		err := w.a.cfg.Runtime.StopSandbox(ctx, id)
		return func() {
			sb.busy = false
			if err != nil {
				w.log.Warn("stopping the sandbox", "err", err)
				sb.retry = sb.retry.again(time.Now(), retryMax)
				return
			}
			sb.ready, w.o.stopped = false, true
		}
	})
}

// remove takes away everything of a pod and says that it is gone.
func (w *worker) remove(ctx context.Context) {
	w.o.removing = true
	pod, ids := w.pod, w.sandboxIDs()
	w.op(ctx, func() func() {
		err := w.a.removePod(ctx, pod, ids)
		return func() {
			w.o.removing = false
			if err != nil {
				w.log.Warn("removing the pod", "err", err)
				w.event(corev1.EventTypeWarning, "FailedKillPod", "error killing pod: "+err.Error(), "")
				w.o.removeRetry = w.o.removeRetry.again(time.Now(), retryMax)
				return
			}
			w.o.gone = true
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
	if id := w.o.sandbox.id; id != "" {
		ids = append(ids, id)
	}
	return ids
}

func (a *Agent) removePod(ctx context.Context, pod *corev1.Pod, sandboxes []string) error {
	for _, id := range sandboxes {
		if err := a.cfg.Runtime.StopSandbox(ctx, id); err != nil {
			return err
		}
		if err := a.cfg.Runtime.RemoveSandbox(ctx, id); err != nil {
			return err
		}
	}
	return errors.Join(a.volumes.Teardown(pod.UID), a.cgroups.Remove(pod.UID), os.RemoveAll(a.logDir(pod)))
}
