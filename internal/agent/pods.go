package agent

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/machine"
	"trireme/internal/agent/stream"
	"trireme/internal/kind"
	"trireme/internal/object"
)

// Pods returns the pods of this node with their newest status, sorted by key.
func (a *Agent) Pods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, w := range a.allWorkers() {
		w.shown.mu.Lock()
		pod := *w.shown.pod
		if w.shown.status != nil {
			pod.Status = *w.shown.status
		}
		w.shown.mu.Unlock()
		out = append(out, &pod)
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		return strings.Compare(object.KeyOf(a).String(), object.KeyOf(b).String())
	})
	return out
}

// Sandbox returns the pod's sandbox; kind.NotFound if there is none.
func (a *Agent) Sandbox(pod object.Key) (string, error) {
	w := a.byKey(pod)
	if w == nil {
		return "", kind.New(kind.NotFound, "pod %s is not on this node", pod)
	}
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	if w.shown.sandbox == "" {
		return "", kind.New(kind.NotFound, "pod %s has no sandbox", pod)
	}
	return w.shown.sandbox, nil
}

// Container returns where the container is found; kind.NotFound if the pod is
// not here or has no container of the name, kind.Invalid if it was not made yet.
func (a *Agent) Container(pod object.Key, name string) (stream.Container, error) {
	w := a.byKey(pod)
	if w == nil {
		return stream.Container{}, kind.New(kind.NotFound, "pod %s is not on this node", pod)
	}
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	spec := containerOf(w.shown.pod, name)
	if spec == nil {
		return stream.Container{}, kind.New(kind.NotFound, "container %s not found in pod %s", name, pod)
	}
	out := stream.Container{LogDir: filepath.Join(a.logDir(w.shown.pod), name), TTY: spec.TTY, Stdin: spec.Stdin}
	c, ok := w.shown.containers[name]
	if !ok {
		return out, kind.New(kind.Invalid, "container %q in pod %q is waiting to start: %s", name, pod.Name, waiting(w.shown.status, name))
	}
	out.ID, out.Attempt, out.Running = c.id, c.attempt, c.running
	return out, nil
}

func waiting(st *corev1.PodStatus, name string) string {
	for _, list := range machine.ContainerStatuses(st) {
		for i := range list {
			if w := list[i].State.Waiting; w != nil && list[i].Name == name {
				return w.Reason
			}
		}
	}
	return machine.ReasonCreating
}

func containerOf(p *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range p.Spec.EphemeralContainers {
		if e := &p.Spec.EphemeralContainers[i]; e.Name == name {
			c := corev1.Container(e.EphemeralContainerCommon)
			return &c
		}
	}
	return nil
}

// byKey returns the worker of the pod; of two with one name the one that is not
// being ended.
func (a *Agent) byKey(key object.Key) *worker {
	var found *worker
	for _, w := range a.allWorkers() {
		if w.key != key {
			continue
		}
		if found == nil || a.objects.Pod(w.uid) {
			found = w
		}
	}
	return found
}

// Summary returns what the node and its pods use now.
func (a *Agent) Summary(ctx context.Context) (*stream.Summary, error) {
	return a.meter.Summary(ctx, a.cfg.Node)
}

// rotateLoop keeps the containers' logs small.
func (a *Agent) rotateLoop(ctx context.Context) error {
	t := time.NewTicker(stream.RotateEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, w := range a.allWorkers() {
			w.shown.mu.Lock()
			pod, containers := w.shown.pod, w.shown.containers
			w.shown.mu.Unlock()
			for name, c := range containers {
				if !c.running {
					continue
				}
				log := filepath.Join(a.logDir(pod), name, strconv.Itoa(int(c.attempt))+".log")
				if err := stream.Rotate(log, func() error { return a.cfg.Runtime.ReopenLog(ctx, c.id) }); err != nil {
					a.cfg.Log.Warn("rotating a log", "pod", w.key.String(), "container", name, "err", err)
				}
			}
		}
	}
}
