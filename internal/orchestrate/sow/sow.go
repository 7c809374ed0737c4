package sow

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/kind"
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
	// Review reports whether somebody outside is to see the pod before anybody else
	// does, such as a webhook. It is called for each pod right before it is put, must
	// not change it, and be cheap.
	Review func(r store.Reader, pod *corev1.Pod) bool
}

// Writes lists the tables that Put writes: pods, and the quotas that they are
// booked on.
func Writes() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.ResourceQuotas.ID()}
}

// FromTemplate returns a new pod of the template, controlled by owner, without a
// name. It shares nothing with the template, and is not under review, whatever that
// says.
func FromTemplate(owner metav1.Object, gvk schema.GroupVersionKind, t *corev1.PodTemplateSpec) *corev1.Pod {
	t = t.DeepCopy()
	object.SetUnderReview(t, false)
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

// Put puts a pod that is ready and has a name, unless it is refused. One that is to be
// reviewed is put under review (object.UnderReview): it counts, and nobody acts on it
// until it is let through; where it is not, its row goes, and for a while Put refuses
// other pods of its owner with what was said.
func (r Rules) Put(tx *store.Tx, pod *corev1.Pod) error {
	review := r.Review != nil && r.Review(tx, pod)
	if review {
		if err := refused(tx, pod); err != nil {
			return err
		}
	}
	if r.Allow != nil {
		if err := r.Allow(tx, pod); err != nil {
			return err
		}
	}
	object.SetUnderReview(pod, review)
	tables.Pods.Put(tx, pod)
	return nil
}

// refused returns what was said against a pod of the same owner a while ago.
func refused(tx *store.Tx, pod *corev1.Pod) error {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return nil
	}
	no, ok := tables.Refusals.Get(tx, object.Key{Namespace: pod.Namespace, Name: string(owner.UID)})
	if !ok || !tx.Now().Before(no.Until.Time) {
		return nil
	}
	return kind.New(kind.Denied, "%s", no.Message)
}

// Pin makes a pod ask for one node. What else its template requires of nodes was
// judged before and may not hold any more where the pod is to stay.
func Pin(s *corev1.PodSpec, node string) {
	if s.Affinity == nil {
		s.Affinity = &corev1.Affinity{}
	}
	if s.Affinity.NodeAffinity == nil {
		s.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	s.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
		}}},
	}
}
