package defaults

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// storageKinds lists the kinds that storageObject defaults.
func storageKinds() []runtime.Object {
	return []runtime.Object{
		&corev1.PersistentVolume{}, &corev1.PersistentVolumeClaim{}, &storagev1.StorageClass{}, &storagev1.CSIDriver{},
	}
}

// storageObject defaults the kinds that volumes are made of.
func storageObject(o runtime.Object) {
	switch o := o.(type) {
	case *corev1.PersistentVolume:
		or(&o.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
		ptr(&o.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
		or(&o.Status.Phase, corev1.VolumePending)
		if o.Spec.HostPath != nil {
			ptr(&o.Spec.HostPath.Type, corev1.HostPathUnset)
		}
	case *corev1.PersistentVolumeClaim:
		ptr(&o.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
		or(&o.Status.Phase, corev1.ClaimPending)
	case *storagev1.StorageClass:
		ptr(&o.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
		ptr(&o.VolumeBindingMode, storagev1.VolumeBindingImmediate)
	case *storagev1.CSIDriver:
		csiDriver(&o.Spec)
	}
}

func csiDriver(s *storagev1.CSIDriverSpec) {
	ptr(&s.AttachRequired, true)
	ptr(&s.PodInfoOnMount, false)
	ptr(&s.StorageCapacity, false)
	ptr(&s.RequiresRepublish, false)
	ptr(&s.SELinuxMount, false)
	ptr(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}
