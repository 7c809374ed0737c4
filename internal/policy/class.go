package policy

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// applyRuntimeClass adds to the pod what running under its runtime class costs
// and where that is possible (Kubernetes, "Runtime Class", "Pod Overhead").
func applyRuntimeClass(r store.Reader, p *corev1.Pod) error {
	name := p.Spec.RuntimeClassName
	if name == nil || *name == "" {
		if len(p.Spec.Overhead) > 0 {
			return denied("spec.overhead: pod overhead is set without a corresponding RuntimeClass defining overhead")
		}
		return nil
	}
	class, ok := tables.RuntimeClasses.Get(r, object.Key{Name: *name})
	if !ok {
		return denied("spec.runtimeClassName: pod rejected: RuntimeClass %q not found", *name)
	}
	if err := applyOverhead(class, p); err != nil {
		return err
	}
	if class.Scheduling == nil {
		return nil
	}
	selector := maps.Clone(p.Spec.NodeSelector)
	for k, v := range class.Scheduling.NodeSelector {
		if have, ok := selector[k]; ok && have != v {
			return denied("spec.nodeSelector[%s]: %q conflicts with %q of RuntimeClass %s", k, have, v, class.Name)
		}
		if selector == nil {
			selector = map[string]string{}
		}
		selector[k] = v
	}
	p.Spec.NodeSelector = selector
	for _, t := range class.Scheduling.Tolerations {
		if !slices.ContainsFunc(p.Spec.Tolerations, func(have corev1.Toleration) bool { return equality.Semantic.DeepEqual(have, t) }) {
			p.Spec.Tolerations = append(slices.Clip(p.Spec.Tolerations), t)
		}
	}
	return nil
}

func applyOverhead(class *nodev1.RuntimeClass, p *corev1.Pod) error {
	var want corev1.ResourceList
	if class.Overhead != nil {
		want = class.Overhead.PodFixed
	}
	if len(p.Spec.Overhead) > 0 && !equality.Semantic.DeepEqual(p.Spec.Overhead, want) {
		return denied("spec.overhead: pod rejected: Pod's Overhead doesn't match RuntimeClass %q's defined Overhead", class.Name)
	}
	if len(want) > 0 {
		p.Spec.Overhead = want.DeepCopy()
	}
	return nil
}

// The annotations that mark the class of claims that name none.
const (
	isDefaultClass     = "storageclass.kubernetes.io/is-default-class"
	isDefaultClassBeta = "storageclass.beta.kubernetes.io/is-default-class"
	claimClassBeta     = corev1.BetaStorageClassAnnotation
)

// DefaultStorageClass returns the class of claims that name none: of several the
// youngest, and of equally young ones the first by name; nil if there is none.
func DefaultStorageClass(r store.Reader) (found *storagev1.StorageClass) {
	for c := range tables.StorageClasses.All(r) {
		if c.Annotations[isDefaultClass] != "true" && c.Annotations[isDefaultClassBeta] != "true" {
			continue
		}
		if found == nil || c.CreationTimestamp.After(found.CreationTimestamp.Time) {
			found = c
		}
	}
	return found
}

// defaultStorageClass gives a claim that names no class the default one. A claim
// that names the empty class wants none (Kubernetes, "Dynamic Volume Provisioning").
func defaultStorageClass(r store.Reader, c *corev1.PersistentVolumeClaim) {
	if _, ok := c.Annotations[claimClassBeta]; ok || c.Spec.StorageClassName != nil {
		return
	}
	if class := DefaultStorageClass(r); class != nil {
		name := class.Name
		c.Spec.StorageClassName = &name
	}
}
