package object

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// The annotations of static pods (Kubernetes, "Create static Pods"), beside
// corev1.MirrorPodAnnotationKey, which holds the hash of the pod it stands for.
const (
	StaticSource = "kubernetes.io/config.source"
	StaticHash   = "kubernetes.io/config.hash"
)

// StaticPod reports whether the pod comes from a file of its node, or stands for
// such a one: nobody but that node ends it.
func StaticPod(p *corev1.Pod) bool {
	return p.Annotations[StaticSource] == "file" || MirrorPod(p)
}

// MirrorPod reports whether the pod is the row that stands for a static one.
func MirrorPod(p *corev1.Pod) bool {
	_, ok := p.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// StaticRefers returns why a static pod may not be: it names an object of the API,
// which nobody may read for it.
func StaticRefers(p *corev1.Pod) (err error) {
	References(p, func(r Reference) {
		err = fmt.Errorf("a static pod may not refer to %s %q of the API: take it out of the manifest", r.Resource, r.Name)
	})
	return err
}
