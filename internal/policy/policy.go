package policy

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Complete fills in o, a new object or, where old is not nil, its next version,
// from the rules of the cluster. The error says what cannot be filled in.
func Complete(r store.Reader, o, old store.Object) error {
	switch o := o.(type) {
	case *corev1.Pod:
		if old != nil {
			return nil
		}
		return completePod(r, o)
	case *corev1.PersistentVolumeClaim:
		if old == nil {
			defaultStorageClass(r, o)
		}
	}
	return nil
}

// Check returns why the rules of the cluster refuse o; old is nil at creation.
func Check(r store.Reader, o, old store.Object) error {
	if old != nil && old.GetDeletionTimestamp() != nil {
		return nil
	}
	switch o := o.(type) {
	case *corev1.Pod:
		if was, ok := old.(*corev1.Pod); !ok || resized(o, was) {
			return checkLimits(r, o)
		}
	case *corev1.PersistentVolumeClaim:
		return checkLimits(r, o)
	case *schedulingv1.PriorityClass:
		return onlyDefault(r, o)
	}
	return nil
}

// resized reports whether the pod's containers ask for something else than they did.
func resized(p, old *corev1.Pod) bool {
	same := func(a, b corev1.Container) bool { return equality.Semantic.DeepEqual(a.Resources, b.Resources) }
	return !slices.EqualFunc(p.Spec.Containers, old.Spec.Containers, same) || !slices.EqualFunc(p.Spec.InitContainers, old.Spec.InitContainers, same)
}

// Fill completes a pod that a loop made of a template, and that already has what
// the system gives every new pod, as Complete and Check do with a user's.
func Fill(r store.Reader, p *corev1.Pod) error {
	if err := checkMark(p); err != nil {
		return err
	}
	p.Spec.Priority, p.Spec.PreemptionPolicy = nil, nil // its class decides
	if err := completePod(r, p); err != nil {
		return err
	}
	p.Status.QOSClass = object.QOS(p)
	if v := Security(r, p, nil); v.Refusal != nil {
		return v.Refusal
	}
	return checkLimits(r, p)
}

// checkMark refuses pods whose template says that they are a framework's tasks: only what
// controls such a pod can say so.
func checkMark(p *corev1.Pod) error {
	if p.Labels[mesos.FrameworkLabel] == "" {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil && ref.Kind == mesos.FrameworkKind.Kind && ref.APIVersion == mesos.FrameworkKind.GroupVersion().String() {
		return nil
	}
	e := kind.New(kind.Denied, "a template may not say that its pods are tasks of a framework: take the label away")
	e.Field = "metadata.labels[" + mesos.FrameworkLabel + "]"
	return e
}

// Allow books a pod that a loop is about to put on the quotas of its namespace,
// or refuses it.
func Allow(tx *store.Tx, p *corev1.Pod) error {
	return Charge(tx, GroupResource(tables.Pods), p, nil)
}

// AllowNew books an object that a loop is about to create on the quotas of its
// namespace, or refuses it. Pods and claims have rules of their own: Allow, AllowClaim.
func AllowNew[T store.Object, H any](tx *store.Tx, t *store.Table[T, H], o T) error {
	gr := GroupResource(t)
	if err := Charge(tx, gr, o, nil); err != nil {
		return fmt.Errorf("%s %q is forbidden: %w", gr, o.GetName(), err)
	}
	return nil
}

// AllowClaim completes a claim that a loop is about to put and books it on the
// quotas of its namespace, or refuses it.
func AllowClaim(tx *store.Tx, c *corev1.PersistentVolumeClaim) error {
	defaultStorageClass(tx, c)
	if err := checkLimits(tx, c); err != nil {
		return err
	}
	return Charge(tx, GroupResource(tables.PersistentVolumeClaims), c, nil)
}

func completePod(r store.Reader, p *corev1.Pod) error {
	if err := completeAccount(r, p); err != nil {
		return err
	}
	defaultLimits(r, p)
	if err := resolvePriority(r, p); err != nil {
		return err
	}
	return applyRuntimeClass(r, p)
}

func denied(format string, args ...any) error { return kind.New(kind.Denied, format, args...) }
