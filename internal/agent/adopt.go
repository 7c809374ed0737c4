package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/runtime"
)

// adoptPod takes over what the runtime has of the pod from an agent before this
// one, without touching it.
func (w *worker) adoptPod(ctx context.Context) {
	if len(w.adopt) == 0 {
		w.o.adopted = true
		return
	}
	newest := w.adopt[0]
	for _, s := range w.adopt {
		if s.Attempt >= newest.Attempt {
			newest = s
		}
	}
	w.op(ctx, func() func() {
		full := map[string]runtime.Container{}
		for _, c := range newest.Containers {
			if got := w.a.inspect(ctx, c.ID); got != nil && got.Name != "" {
				c = *got
			}
			full[c.ID] = c
		}
		return func() {
			w.o.sandbox = sandboxState{id: newest.ID, attempt: newest.Attempt, made: true, ready: newest.Ready}
			if w.o.ended {
				w.o.stopped = !newest.Ready
			}
			for _, c := range newest.Containers { // by creation: the newest of a name is last
				w.adoptContainer(full[c.ID])
			}
			w.adoptInitialized()
			for _, c := range w.o.containers {
				if c.exited() {
					w.backsOff(c)
				}
			}
			cfg, err := w.sandboxConfig(newest.Attempt)
			if err != nil {
				w.log.Warn("describing the adopted sandbox", "err", err)
			}
			w.sandbox, w.o.adopted = cfg, true
			w.look.wanted = true
		}
	})
}

func (w *worker) adoptContainer(full runtime.Container) {
	c := w.o.containers[full.Name]
	if c == nil {
		return // not in the spec: it ends with its sandbox
	}
	if c.made {
		c.oldID = c.full.ID
		if c.exited() {
			c.previous = terminated(&c.full)
		}
	}
	c.made, c.ran, c.current, c.attempt, c.full = true, true, true, full.Attempt, full
	c.hooked = true
	c.started, c.ready = c.spec.StartupProbe == nil, c.spec.StartupProbe == nil && c.spec.ReadinessProbe == nil
	for _, list := range containerStatuses(&w.pod.Status) {
		for i := range list {
			if st := &list[i]; st.ContainerID == runtimeScheme+full.ID {
				c.started, c.ready = c.started || st.Started != nil && *st.Started, c.ready || st.Ready
			}
		}
	}
	if full.Attempt > 0 {
		c.pause = min(w.a.cfg.BackOffMin<<min(full.Attempt-1, 8), crashPauseMax)
	}
	switch {
	case c.exited():
		c.crashed()
	case c.running() && full.Annotations[hashAnnotation] != "" && full.Annotations[hashAnnotation] != c.spec.Image:
		c.kill = &killOrder{"Container " + full.Name + " definition changed, will be restarted", graceOf(w.pod)}
	}
}

// adoptInitialized: where a container of the pod was made, the init containers
// had done their work.
func (w *worker) adoptInitialized() {
	for i := range w.pod.Spec.Containers {
		if c := w.o.containers[w.pod.Spec.Containers[i].Name]; c.current {
			w.o.initialized = true
		}
	}
}

// listed compares what the runtime listed with what is known. A list from before
// the newest change is passed over.
func (w *worker) listed(ctx context.Context, sandboxes []runtime.Sandbox, began time.Time) {
	w.tell(ctx, func() {
		sb := &w.o.sandbox
		if !w.o.adopted || sb.busy || anyBusy(&w.o) || w.o.removing || !began.After(w.touched) {
			return
		}
		there := false
		for _, s := range sandboxes {
			if s.ID != sb.id {
				continue
			}
			there = true
			if sb.ready && !s.Ready {
				sb.ready, w.look.wanted = false, true
			}
			for _, c := range s.Containers {
				if known := w.o.containers[c.Name]; known != nil && known.full.ID == c.ID && known.full.State != c.State {
					w.look.wanted = true
				}
			}
		}
		if sb.id != "" && !there {
			*sb = sandboxState{attempt: sb.attempt, made: true, retry: sb.retry}
			for _, c := range w.o.containers {
				c.lost(time.Now())
			}
			w.o.initialized = false
		}
	})
}

// orphan returns a pod that stands for what the runtime has of a pod that is
// assigned no more.
func orphan(s runtime.Sandbox) *corev1.Pod {
	now := metav1.Now()
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: s.Name, Namespace: s.Namespace, UID: s.UID, Labels: s.Labels, Annotations: s.Annotations,
		DeletionTimestamp: &now, DeletionGracePeriodSeconds: &grace,
	}}
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	seen := map[string]bool{}
	for _, c := range s.Containers {
		if !seen[c.Name] {
			seen[c.Name] = true
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c.Name, Image: c.ImageRef})
		}
	}
	return pod
}

func byPod(sandboxes []runtime.Sandbox) map[types.UID][]runtime.Sandbox {
	out := map[types.UID][]runtime.Sandbox{}
	for _, s := range sandboxes {
		out[s.UID] = append(out[s.UID], s)
	}
	return out
}
