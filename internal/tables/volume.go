package tables

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
)

// Indexes of PersistentVolumes, beside OwnerIndex.
const (
	// VolumesByClaim finds volumes by the key of the claim that they name.
	VolumesByClaim = "claim"
	// VolumesFree finds the volumes that name no claim by their class, "" for none.
	VolumesFree = "free"
	// VolumesByNode finds the volumes whose data this cluster's agents keep, by the
	// node they lie on.
	VolumesByNode = "node"
)

// PersistentVolumes holds the volumes.
var PersistentVolumes = indexed("persistentvolumes", false, core("PersistentVolume"), map[string]func(*corev1.PersistentVolume) []string{
	VolumesByClaim: func(v *corev1.PersistentVolume) []string {
		if ref := v.Spec.ClaimRef; ref != nil {
			return []string{object.Key{Namespace: ref.Namespace, Name: ref.Name}.String()}
		}
		return nil
	},
	VolumesFree: func(v *corev1.PersistentVolume) []string {
		if v.Spec.ClaimRef != nil {
			return nil
		}
		return []string{claim.VolumeClass(v)}
	},
	VolumesByNode: func(v *corev1.PersistentVolume) []string {
		if node := claim.LocalNode(v); node != "" {
			return []string{node}
		}
		return nil
	},
})

// Indexes of PersistentVolumeClaims, beside OwnerIndex.
const (
	// ClaimsWaiting finds the claims that name no volume by the class they ask for,
	// "" for none.
	ClaimsWaiting = "waiting"
	// ClaimsByVolume finds claims by the volume they name.
	ClaimsByVolume = "volume"
)

// PersistentVolumeClaims holds the claims.
var PersistentVolumeClaims = indexed("persistentvolumeclaims", true, core("PersistentVolumeClaim"), map[string]func(*corev1.PersistentVolumeClaim) []string{
	ClaimsWaiting: func(c *corev1.PersistentVolumeClaim) []string {
		if c.Spec.VolumeName != "" {
			return nil
		}
		return []string{claim.Class(c)}
	},
	ClaimsByVolume: func(c *corev1.PersistentVolumeClaim) []string {
		if c.Spec.VolumeName == "" {
			return nil
		}
		return []string{c.Spec.VolumeName}
	},
})

// AttachmentsByNode finds the attachments of volumes by the node's name,
// AttachmentsByVolume by the persistent volume's.
const (
	AttachmentsByNode   = "node"
	AttachmentsByVolume = "volume"
)

// VolumeAttachments holds the attachments of volumes to nodes.
var VolumeAttachments = indexed("volumeattachments", false, storage("VolumeAttachment"), map[string]func(*storagev1.VolumeAttachment) []string{
	AttachmentsByNode: func(a *storagev1.VolumeAttachment) []string { return []string{a.Spec.NodeName} },
	AttachmentsByVolume: func(a *storagev1.VolumeAttachment) []string {
		if name := a.Spec.Source.PersistentVolumeName; name != nil {
			return []string{*name}
		}
		return nil
	},
})

// CapacitiesByClass finds what drivers say of their room by the storage class.
const CapacitiesByClass = "class"

// CSIStorageCapacities holds what CSI drivers say of their room.
var CSIStorageCapacities = indexed("csistoragecapacities", true, storage("CSIStorageCapacity"), map[string]func(*storagev1.CSIStorageCapacity) []string{
	CapacitiesByClass: func(c *storagev1.CSIStorageCapacity) []string { return []string{c.StorageClassName} },
})

// indexed declares a table that Kubernetes keeps below /registry/ID/, with
// indexes beside the owners'.
func indexed[T any, P pointer[T]](id store.TableID, namespaced bool, gvk schema.GroupVersionKind, indexes map[string]func(P) []string) *store.Table[P, none] {
	spec := declare[T, P](id, gvk, string(id))
	spec.Namespaced = namespaced
	for name, f := range indexes {
		spec.Indexes[name] = f
	}
	return store.NewTable(spec)
}
