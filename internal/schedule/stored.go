package schedule

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
)

// stored is a volume of LocalProvisioner on a node's disk; the zero value: it is none.
type stored struct {
	node  string
	bytes int64
}

func storedOf(v *corev1.PersistentVolume) stored {
	if v == nil || claim.LocalNode(v) == "" {
		return stored{}
	}
	return stored{claim.LocalNode(v), v.Spec.Capacity.Storage().Value()}
}

// setStored takes in a volume's row; nil: it is gone.
func (c *cell) setStored(key object.Key, v *corev1.PersistentVolume) {
	old, now := c.stored[key], storedOf(v)
	if old == now {
		return
	}
	c.store(old, -1)
	c.store(now, 1)
	if c.stored[key] = now; now == (stored{}) {
		delete(c.stored, key)
	}
}

func (c *cell) store(s stored, sign int64) {
	if s.node == "" {
		return
	}
	n := c.node(s.node)
	n.stored += sign * s.bytes
	c.improve(n)
	c.drop(n)
}

// stores reports whether the node's disk has room for that many bytes of volumes more.
func (n *node) stores(more int64) bool {
	disk, says := claim.LocalDisk(n.row)
	return more == 0 || !says || n.stored+more <= disk
}
