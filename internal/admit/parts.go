package admit

import (
	"reflect"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"trireme/internal/store"
)

// part returns a field of o by name, the zero Value where its kind has none. API
// kinds keep what is asked for in Spec and what is observed in Status (API
// conventions, "Spec and Status").
func part(o store.Object, name string) reflect.Value {
	return reflect.ValueOf(o).Elem().FieldByName(name)
}

// counted reports whether the kind counts generations: those with a spec that a
// controller follows, and the registrations of webhooks.
func counted(o store.Object) bool {
	switch o.(type) {
	case *corev1.Node, *corev1.Namespace, *corev1.Service, *corev1.PersistentVolume, *corev1.PersistentVolumeClaim, *corev1.ResourceQuota,
		*corev1.LimitRange, *schedulingv1.PriorityClass, *storagev1.VolumeAttachment, *storagev1.CSIDriver, *storagev1.CSINode:
		return false
	case *admissionv1.MutatingWebhookConfiguration, *admissionv1.ValidatingWebhookConfiguration:
		return true
	}
	return part(o, "Spec").IsValid()
}

// sameAsked reports whether what the user asks for is the same in both.
func sameAsked(a, b store.Object) bool {
	switch a := a.(type) {
	case *admissionv1.MutatingWebhookConfiguration:
		return equality.Semantic.DeepEqual(a.Webhooks, b.(*admissionv1.MutatingWebhookConfiguration).Webhooks)
	case *admissionv1.ValidatingWebhookConfiguration:
		return equality.Semantic.DeepEqual(a.Webhooks, b.(*admissionv1.ValidatingWebhookConfiguration).Webhooks)
	}
	return equality.Semantic.DeepEqual(part(a, "Spec").Interface(), part(b, "Spec").Interface())
}
