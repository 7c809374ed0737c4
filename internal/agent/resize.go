package agent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/grant"
	"trireme/internal/agent/machine"
	"trireme/internal/object"
)

// grantedPod returns the pod as its containers may be run: with what the node has
// granted them of what is asked.
func (w *worker) grantedPod(pod *corev1.Pod) (granted *corev1.Pod, more []types.UID) {
	if w.o.Ended {
		return pod, nil
	}
	if w.pod == nil { // what was granted in an earlier life of the agent holds
		w.pod = grant.With(pod, func(c *corev1.Container) corev1.ResourceRequirements { return grant.Reported(pod, c) })
		w.a.grants.Take(w.uid, object.SpecDemand(w.pod))
	}
	now := map[string]corev1.ResourceRequirements{}
	grant.Each(w.pod, func(c *corev1.Container) { now[c.Name] = c.Resources })
	same := true
	grant.Each(pod, func(c *corev1.Container) { same = same && grant.Same(now[c.Name], c.Resources) })
	r := &w.o.Resize
	if same {
		r.Pending, r.Since = grant.Answer{}, time.Time{}
		return pod, nil
	}
	if r.Since.IsZero() {
		r.Since = time.Now()
	}
	ask := grant.Request{UID: w.uid, Demand: object.SpecDemand(pod), Since: r.Since}
	if pod.Spec.Priority != nil {
		ask.Priority = *pod.Spec.Priority
	}
	answer := grant.Answer{Reason: corev1.PodReasonInfeasible, Message: "Resize is infeasible for Guaranteed Pods alongside CPU Manager static policy"}
	if !w.a.cpus.Exclusive(w.uid) {
		answer, more = w.a.grants.Ask(ask)
	}
	if answer.Reason != "" {
		if answer.Reason != r.Pending.Reason {
			w.event(corev1.EventTypeWarning, "Resize"+answer.Reason, "Pod resize "+answer.Reason+": "+answer.Message, "")
		}
		r.Pending = answer
		return grant.With(pod, func(c *corev1.Container) corev1.ResourceRequirements { return now[c.Name] }), more
	}
	*r = machine.Resizing{Widen: true, Narrow: true, Busy: r.Busy}
	w.event(corev1.EventTypeNormal, "ResizeStarted", "Pod resize started", "")
	return pod, more
}

// passOn tells workers, from beside this one, that what their pods asked for was
// granted.
func (w *worker) passOn(granted []types.UID) {
	if len(granted) > 0 {
		w.ops.Go(func() { w.a.passOn(w.a.runContext(), granted) })
	}
}

// passOn tells workers that what their pods asked for was granted.
func (a *Agent) passOn(ctx context.Context, granted []types.UID) {
	for _, uid := range granted {
		if w := a.worker(uid); w != nil {
			w.granted(ctx)
		}
	}
}

// orderRestarts ends the containers that want to be started again when what they
// may use changes.
func (w *worker) orderRestarts() {
	for _, c := range w.o.Containers {
		if c.Running() && c.Kill == nil && machine.RestartsOnResize(c) {
			c.Kill = &machine.KillOrder{Message: "Container " + c.Spec.Name + " resize requires restart", Grace: machine.GraceOf(w.pod)}
			c.Renew = true
		}
	}
}

// resizeJob is one step of a pod's resizing: the worker's state is not touched from
// beside.
type resizeJob struct {
	a          *Agent
	pod        *corev1.Pod
	containers []resizeContainer
	narrow     bool // no container waits for its restart
}

type resizeContainer struct {
	name, id string
	was      corev1.ResourceRequirements
	spec     *corev1.Container
	cpus     string
}

func (w *worker) resize(ctx context.Context) {
	list, rest := machine.ToResize(&w.o)
	job := resizeJob{a: w.a, pod: w.pod, narrow: !rest}
	for _, c := range list {
		c.Busy = true
		job.containers = append(job.containers, resizeContainer{c.Spec.Name, c.Full.ID, c.Limits, c.Spec, c.Pin})
	}
	w.o.Resize.Busy = true
	w.op(ctx, func() func() {
		done, err := job.run(ctx)
		return func() { w.resized(&job, done, err) }
	})
}

// resized takes over how far the job came: done of its containers are changed.
func (w *worker) resized(job *resizeJob, done int, err error) {
	r := &w.o.Resize
	r.Busy = false
	for i, j := range job.containers {
		c := w.o.Containers[j.name]
		c.Busy = false
		if i < done && c.Full.ID == j.id {
			c.Limits, c.CPUs = j.spec.Resources, j.cpus
		}
	}
	if err != nil {
		if r.Err == "" {
			w.event(corev1.EventTypeWarning, "ResizeError", "Pod resize error: "+err.Error(), "")
		}
		w.log.Warn("resizing the pod", "err", err)
		r.Err, r.Retry = err.Error(), r.Retry.Again(time.Now(), machine.RetryMax)
		w.look.wanted = true // a container may have ended
		return
	}
	r.Err, r.Retry = "", machine.Retry{}
	if job.pod != w.pod && !grant.SamePod(job.pod, w.pod) {
		return // there is a newer one
	}
	r.Widen = false
	if left, rest := machine.ToResize(&w.o); r.Narrow && job.narrow && len(left) == 0 && !rest {
		r.Narrow = false
		w.event(corev1.EventTypeNormal, "ResizeCompleted", "Pod resize completed", "")
	}
}

// run widens the pod's group, changes its containers' limits and narrows the group.
func (j *resizeJob) run(ctx context.Context) (done int, err error) {
	if err := j.a.cgroups.Create(j.pod); err != nil {
		return 0, err
	}
	for _, c := range j.containers {
		if err := j.mayShrink(ctx, c); err != nil {
			return done, err
		}
		if err := j.a.cfg.Runtime.UpdateContainer(ctx, c.id, j.a.limits(j.pod, c.spec)); err != nil {
			return done, err
		}
		done++
	}
	if !j.narrow {
		return done, nil
	}
	return done, j.a.cgroups.Fit(j.pod)
}

// mayShrink refuses a memory limit below what the container uses: version 2 of the
// kernel's groups would kill in it.
func (j *resizeJob) mayShrink(ctx context.Context, c resizeContainer) error {
	was, is := c.was.Limits.Memory(), c.spec.Resources.Limits.Memory()
	if is.IsZero() || !was.IsZero() && is.Cmp(*was) >= 0 {
		return nil
	}
	all, err := j.a.cfg.Runtime.Stats(ctx)
	if err != nil {
		return err
	}
	for _, u := range all {
		if u.ContainerID == c.id && int64(u.MemoryBytes) >= is.Value() {
			return fmt.Errorf("attempting to set container %s memory limit (%d) below current usage (%d)", c.name, is.Value(), u.MemoryBytes)
		}
	}
	return nil
}
