package columns

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/object/claim"
	"trireme/internal/store"
)

// IsDefaultClass reports whether o is a storage class that is marked as default.
func IsDefaultClass(o metav1.Object) bool {
	class, ok := o.(*storagev1.StorageClass)
	return ok && claim.IsDefault(class)
}

var storageKinds = map[store.TableID]Kind{
	"persistentvolumes": {
		[]string{"Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", "StorageClass", "VolumeAttributesClass", "Reason", "Age", "VolumeMode*"},
		volumeCells,
	},
	"persistentvolumeclaims": {
		[]string{"Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeAttributesClass", "Age", "VolumeMode*"},
		claimCells,
	},
	"storageclasses": {
		[]string{"Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"},
		func(o runtime.Object) []any {
			c := o.(*storagev1.StorageClass)
			reclaim, binding := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingImmediate
			if c.ReclaimPolicy != nil {
				reclaim = *c.ReclaimPolicy
			}
			if c.VolumeBindingMode != nil {
				binding = *c.VolumeBindingMode
			}
			return []any{c.Provisioner, string(reclaim), string(binding), deref(c.AllowVolumeExpansion), Age(c)}
		},
	},
	"volumeattachments": {
		[]string{"Attacher", "PV", "Node", "Attached", "Age"},
		func(o runtime.Object) []any {
			a := o.(*storagev1.VolumeAttachment)
			return []any{a.Spec.Attacher, deref(a.Spec.Source.PersistentVolumeName), a.Spec.NodeName, a.Status.Attached, Age(a)}
		},
	},
	"volumeattributesclasses": {
		[]string{"DriverName", "Age"},
		func(o runtime.Object) []any {
			c := o.(*storagev1.VolumeAttributesClass)
			return []any{c.DriverName, Age(c)}
		},
	},
	"csidrivers": {
		[]string{"AttachRequired", "PodInfoOnMount", "StorageCapacity", "TokenRequests", "RequiresRepublish", "Modes", "Age"},
		func(o runtime.Object) []any {
			d := o.(*storagev1.CSIDriver)
			var audiences []string
			for _, t := range d.Spec.TokenRequests {
				audiences = append(audiences, t.Audience)
			}
			return []any{d.Spec.AttachRequired == nil || *d.Spec.AttachRequired, deref(d.Spec.PodInfoOnMount), deref(d.Spec.StorageCapacity),
				or(strings.Join(audiences, ","), unset), deref(d.Spec.RequiresRepublish), or(join(d.Spec.VolumeLifecycleModes), "<none>"), Age(d)}
		},
	},
	"csinodes": {
		[]string{"Drivers", "Age"},
		func(o runtime.Object) []any {
			n := o.(*storagev1.CSINode)
			return []any{int64(len(n.Spec.Drivers)), Age(n)}
		},
	},
	"csistoragecapacities": {
		[]string{"StorageClassName", "Capacity", "Age"},
		func(o runtime.Object) []any {
			c := o.(*storagev1.CSIStorageCapacity)
			size := unset
			if c.Capacity != nil {
				size = c.Capacity.String()
			}
			return []any{c.StorageClassName, size, Age(c)}
		},
	},
}

// modes shows access modes in the short form of the command line (API reference,
// PersistentVolumeAccessMode).
func modes(list []corev1.PersistentVolumeAccessMode) string {
	short := map[corev1.PersistentVolumeAccessMode]string{
		corev1.ReadWriteOnce: "RWO", corev1.ReadOnlyMany: "ROX", corev1.ReadWriteMany: "RWX", corev1.ReadWriteOncePod: "RWOP",
	}
	var all []string
	for _, m := range list {
		all = append(all, or(short[m], string(m)))
	}
	return strings.Join(all, ",")
}

func size(list corev1.ResourceList) string {
	if q, ok := list[corev1.ResourceStorage]; ok {
		return q.String()
	}
	return ""
}

func volumeCells(o runtime.Object) []any {
	v := o.(*corev1.PersistentVolume)
	claim, phase := "", string(v.Status.Phase)
	if ref := v.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	return []any{size(v.Spec.Capacity), modes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
		v.Spec.StorageClassName, or(deref(v.Spec.VolumeAttributesClassName), unset), v.Status.Reason, Age(v), or(string(deref(v.Spec.VolumeMode)), unset)}
}

func claimCells(o runtime.Object) []any {
	c := o.(*corev1.PersistentVolumeClaim)
	phase, have, how := string(c.Status.Phase), "", ""
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	if c.Spec.VolumeName != "" {
		have, how = size(c.Status.Capacity), modes(c.Status.AccessModes)
	}
	return []any{phase, c.Spec.VolumeName, have, how, deref(c.Spec.StorageClassName), or(deref(c.Spec.VolumeAttributesClassName), unset),
		Age(c), or(string(deref(c.Spec.VolumeMode)), unset)}
}
