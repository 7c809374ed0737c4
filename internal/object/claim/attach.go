package claim

import (
	"crypto/sha256"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// NeedsAttachment reports whether volumes of the driver are attached to a node before
// they can be mounted there. One that the cluster has no CSIDriver of needs it.
func NeedsAttachment(d *storagev1.CSIDriver) bool {
	return d == nil || d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
}

// AttachmentName returns the name of the VolumeAttachment that stands for a volume of a
// CSI driver on a node, as Kubernetes makes it.
func AttachmentName(handle, driver, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(handle+driver+node)))
}

// UniqueName is how a node's status names the volume of a CSI driver that it has.
func UniqueName(driver, handle string) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/csi/" + driver + "^" + handle)
}
