package sow

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/object/defaults"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Rules is what admission says to the pods that loops make. The zero value says
// nothing.
type Rules struct {
	// Fill completes a pod and refuses what may not be. It is called once for
	// many pods of one template, before any of them has a name, and may change
	// the pod and all it points to.
	Fill func(r store.Reader, pod *corev1.Pod) error
	// Allow refuses a pod that there is no room for, such as by quota. It is
	// called for each pod right before it is put, and must not change it.
	Allow func(tx *store.Tx, pod *corev1.Pod) error
}

// Writes lists the tables that Put writes: pods, and the quotas that they are
// booked on.
func Writes() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.ResourceQuotas.ID()}
}

// FromTemplate returns a new pod of the template, controlled by owner, without a
// name. It shares nothing with the template.
func FromTemplate(owner metav1.Object, gvk schema.GroupVersionKind, t *corev1.PodTemplateSpec) *corev1.Pod {
	t = t.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.GetNamespace(), Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{object.ControllerRef(owner, gvk)},
		},
		Spec: t.Spec,
	}
}

// Ready completes a pod that a loop has made, so that it, or shallow copies of
// it, may be put.
func (r Rules) Ready(from store.Reader, pod *corev1.Pod) error {
	defaults.Pod(pod)
	defaults.CreatedPod(pod)
	if r.Fill == nil {
		return nil
	}
	return r.Fill(from, pod)
}

// Put puts a pod that is ready and has a name, unless it is refused.
func (r Rules) Put(tx *store.Tx, pod *corev1.Pod) error {
	if r.Allow != nil {
		if err := r.Allow(tx, pod); err != nil {
			return err
		}
	}
	tables.Pods.Put(tx, pod)
	return nil
}
