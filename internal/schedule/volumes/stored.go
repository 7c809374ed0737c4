package volumes

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/claim"
)

// Stored is a volume of LocalProvisioner on a node's disk; the zero value: it is none.
type Stored struct {
	Node  string
	Bytes int64
}

// StoredOf returns where a volume lies; nil: it is gone.
func StoredOf(v *corev1.PersistentVolume) Stored {
	if v == nil || claim.LocalNode(v) == "" {
		return Stored{}
	}
	return Stored{claim.LocalNode(v), v.Spec.Capacity.Storage().Value()}
}

// Store counts so many bytes more on the node's disk.
func (n *Node) Store(bytes int64) { n.stored += bytes }

// stores reports whether the node's disk has room for that many bytes of volumes more.
func (n *Node) stores(row *corev1.Node, more int64) bool {
	disk, says := claim.LocalDisk(row)
	return more == 0 || !says || n.stored+more <= disk
}
