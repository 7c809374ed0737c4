package admit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// protect gives a new volume or claim the finalizer that keeps it while it is in
// use (Kubernetes, admission StorageObjectInUseProtection).
func protect(o metav1.Object, finalizer string) {
	if !slices.Contains(o.GetFinalizers(), finalizer) {
		o.SetFinalizers(append(o.GetFinalizers(), finalizer))
	}
}

// mayGrow refuses a claim that asks for more than before of a class whose
// volumes cannot grow (Kubernetes, admission PersistentVolumeClaimResize).
func mayGrow(tx *store.Tx, o, old store.Object) error {
	next, ok := o.(*corev1.PersistentVolumeClaim)
	if !ok || old == nil {
		return nil
	}
	was := old.(*corev1.PersistentVolumeClaim)
	want, had := next.Spec.Resources.Requests[corev1.ResourceStorage], was.Spec.Resources.Requests[corev1.ResourceStorage]
	if want.Cmp(had) <= 0 || was.Status.Phase != corev1.ClaimBound {
		return nil
	}
	class, ok := tables.StorageClasses.Get(tx, object.Key{Name: claim.Class(was)})
	if ok && class.AllowVolumeExpansion != nil && *class.AllowVolumeExpansion {
		return nil
	}
	return kind.New(kind.Denied, "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
}
