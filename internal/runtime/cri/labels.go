package cri

import (
	"maps"

	"k8s.io/apimachinery/pkg/types"
)

// The labels that this package puts on what it makes. The io.kubernetes ones
// are a convention of the field: crictl, cAdvisor and log collectors read them.
const (
	ownerLabel     = "trireme.dev/owner"
	podNameLabel   = "io.kubernetes.pod.name"
	podSpaceLabel  = "io.kubernetes.pod.namespace"
	podUIDLabel    = "io.kubernetes.pod.uid"
	containerLabel = "io.kubernetes.container.name"
)

var ourLabels = []string{ownerLabel, podNameLabel, podSpaceLabel, podUIDLabel, containerLabel}

// label returns given with our labels added; container is empty for a sandbox.
func (r *Runtime) label(given map[string]string, pod types.NamespacedName, uid types.UID, container string) map[string]string {
	l := make(map[string]string, len(given)+len(ourLabels))
	maps.Copy(l, given)
	l[ownerLabel] = r.cfg.Owner
	l[podNameLabel], l[podSpaceLabel], l[podUIDLabel] = pod.Name, pod.Namespace, string(uid)
	if container != "" {
		l[containerLabel] = container
	}
	return l
}

// unlabel takes our labels off again.
func unlabel(l map[string]string) map[string]string {
	out := maps.Clone(l)
	for _, name := range ourLabels {
		delete(out, name)
	}
	return out
}

// ours is the selector for what this agent made.
func (r *Runtime) ours() map[string]string { return map[string]string{ownerLabel: r.cfg.Owner} }
