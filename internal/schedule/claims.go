package schedule

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/schedule/volumes"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// filterVolumes asks what the pod's claims allow.
func filterVolumes(c *class, n *node) []string {
	if c.volumes == nil {
		return nil
	}
	if why := c.volumes.Refuses(n.row, &n.volumes); why != "" {
		return []string{why}
	}
	return nil
}

// promisedNode returns the node for which a volume is being made, if the pod may
// still go there.
func (cl *class) promisedNode() *node {
	if cl.volumes == nil || cl.volumes.Promised() == "" {
		return nil
	}
	n := cl.cell.nodes[cl.volumes.Promised()]
	if n == nil || cl.refusals(n) != nil {
		return nil
	}
	return n
}

// settleVolumes binds what waits for the pod's node (volumes.Settle).
func (cl *class) settleVolumes(tx *store.Tx, n *node) (wait string, fresh bool) {
	if cl.volumes == nil {
		return "", true
	}
	return cl.volumes.Settle(tx, n.row)
}

// setLimits takes in how many volumes of each driver the node may have; nil: any.
func (c *cell) setLimits(name string, row *storagev1.CSINode) {
	n := c.node(name)
	n.volumes.SetLimits(row)
	c.improve(n)
	c.drop(n)
}

// setStored takes in a volume's row; nil: it is gone.
func (c *cell) setStored(key object.Key, v *corev1.PersistentVolume) {
	old, now := c.stored[key], volumes.StoredOf(v)
	if old == now {
		return
	}
	c.store(old, -1)
	c.store(now, 1)
	if c.stored[key] = now; now == (volumes.Stored{}) {
		delete(c.stored, key)
	}
}

func (c *cell) store(s volumes.Stored, sign int64) {
	if s.Node == "" {
		return
	}
	n := c.node(s.Node)
	n.volumes.Store(sign * s.Bytes)
	c.improve(n)
	c.drop(n)
}

// takeInVolumes has the pods looked at again whose claims, volumes or classes
// changed.
func (s *Scheduler) takeInVolumes(tx *store.Tx) {
	for key := range tables.PersistentVolumes.Changed(tx) {
		pv, _ := tables.PersistentVolumes.Get(tx, key)
		s.cell.setStored(key, pv)
	}
	for key := range volumes.Touched(tx, s.cell.freed) {
		if w := s.queue.Pod(key); w != nil {
			delete(s.classes, w.Class)
			s.queue.Knock(w.Line())
		}
	}
	s.cell.freed = s.cell.freed[:0]
}

// claimsOf returns the keys of the claims that the pod names, without decoding it.
func claimsOf(r store.Reader, key object.Key) []string {
	row, ok := tables.Pods.Row(r, key)
	if !ok {
		return nil
	}
	return row.Indexed(tables.PodsByClaim)
}

func claimKeys(p *corev1.Pod) (keys []string) {
	for _, key := range claim.OfPod(p) {
		keys = append(keys, key.String())
	}
	return keys
}
