package agent

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/grant"
	"trireme/internal/agent/machine"
	"trireme/internal/runtime"
)

// adoptPod takes over what the runtime has of the pod from an agent before this
// one, without touching it.
func (w *worker) adoptPod(ctx context.Context) {
	if len(w.adopt) == 0 {
		w.o.Adopted = true
		return
	}
	newest := w.adopt[0]
	for _, s := range w.adopt {
		if s.Attempt >= newest.Attempt {
			newest = s
		}
	}
	pod := w.pod
	w.op(ctx, func() func() {
		full, health := map[string]runtime.Container{}, map[string]*machine.Probes{}
		for _, c := range newest.Containers {
			if got := w.a.inspect(ctx, c.ID); got != nil && got.Name != "" {
				c = *got
			}
			full[c.ID] = c
			health[c.ID], _ = w.a.healths.Probes(ctx, pod, c.Name, c.ImageID) // its start told why there is none
		}
		return func() {
			w.o.Sandbox = machine.Sandbox{ID: newest.ID, Attempt: newest.Attempt, Made: true, Ready: newest.Ready}
			if w.o.Ended {
				w.o.Stopped = !newest.Ready
			}
			for _, c := range newest.Containers { // by creation: the newest of a name is last
				w.adoptContainer(full[c.ID], health[c.ID])
			}
			w.adoptInitialized()
			for _, c := range w.o.Containers {
				if c.Exited() {
					w.backsOff(c)
				}
			}
			cfg, err := w.sandboxConfig(newest.Attempt)
			if err != nil {
				w.log.Warn("describing the adopted sandbox", "err", err)
			}
			w.sandbox, w.o.Adopted = cfg, true
			w.look.wanted = true
		}
	})
}

func (w *worker) adoptContainer(full runtime.Container, health *machine.Probes) {
	c := w.o.Containers[full.Name]
	if c == nil {
		return // not in the spec: it ends with its sandbox
	}
	if c.Made {
		c.OldID = c.Full.ID
		if c.Exited() {
			c.Previous = machine.Terminated(&c.Full)
		}
	}
	c.Made, c.Ran, c.Current, c.Attempt, c.Full = true, true, true, full.Attempt, full
	c.Image, c.Spec = health, health.Of(c.Spec)
	c.Hooked, c.Limits = true, c.Spec.Resources
	c.Started, c.Ready = c.Spec.StartupProbe == nil, c.Spec.StartupProbe == nil && c.Spec.ReadinessProbe == nil
	for _, list := range machine.ContainerStatuses(&w.pod.Status) {
		for i := range list {
			if st := &list[i]; st.ContainerID == machine.RuntimeScheme+full.ID {
				c.Limits = grant.Limits(st, c.Spec)
				c.Started, c.Ready = c.Started || st.Started != nil && *st.Started, c.Ready || st.Ready
			}
		}
	}
	if full.Attempt > 0 && w.o.Sandbox.Ready { // else it ended with its machine: that was no crash
		c.Pause = min(w.a.cfg.BackOffMin<<min(full.Attempt-1, 8), machine.CrashPauseMax)
	}
	switch {
	case c.Exited():
		c.Crashed(time.Now())
	case c.Running() && full.Annotations[hashAnnotation] != "" && full.Annotations[hashAnnotation] != c.Spec.Image:
		c.Kill = &machine.KillOrder{Message: "Container " + full.Name + " definition changed, will be restarted", Grace: machine.GraceOf(w.pod)}
		c.Renew = true
	}
}

// adoptInitialized: where a container of the pod was made, the init containers
// had done their work.
func (w *worker) adoptInitialized() {
	for i := range w.pod.Spec.Containers {
		if c := w.o.Containers[w.pod.Spec.Containers[i].Name]; c.Current {
			w.o.Initialized = true
		}
	}
}

// listed compares what the runtime listed with what is known. A list from before
// the newest change is passed over.
func (w *worker) listed(ctx context.Context, sandboxes []runtime.Sandbox, began time.Time) {
	w.tell(ctx, func() {
		sb := &w.o.Sandbox
		if !w.o.Adopted || sb.Busy || machine.AnyBusy(&w.o) || w.o.Removing || !began.After(w.touched) {
			return
		}
		there := false
		for _, s := range sandboxes {
			if s.ID != sb.ID {
				continue
			}
			there = true
			if sb.Ready && !s.Ready {
				sb.Ready, w.look.wanted = false, true
			}
			for _, c := range s.Containers {
				if known := w.o.Containers[c.Name]; known != nil && known.Full.ID == c.ID && known.Full.State != c.State {
					w.look.wanted = true
				}
			}
		}
		if sb.ID != "" && !there {
			*sb = machine.Sandbox{Attempt: sb.Attempt, Made: true, Retry: sb.Retry}
			for _, c := range w.o.Containers {
				c.Lost(time.Now())
			}
			w.o.Initialized = false
		}
	})
}

func byPod(sandboxes []runtime.Sandbox) map[types.UID][]runtime.Sandbox {
	out := map[types.UID][]runtime.Sandbox{}
	for _, s := range sandboxes {
		out[s.UID] = append(out[s.UID], s)
	}
	return out
}
