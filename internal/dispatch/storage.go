package dispatch

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// storage writes what the CSI drivers on a node say of it: the node's CSINode, the
// labels by which volumes know where they can be reached, and how large claims are there.
// The labels of a driver that has gone stay, as they do with a kubelet: volumes are bound
// to them.
func (d *Dispatcher) storage(ctx context.Context, node string, said *wire.Storage) error {
	now := &storagev1.CSINode{}
	if err := now.Unmarshal(said.CsiNode); err != nil {
		return kind.New(kind.Malformed, "decoding a CSINode: %w", err)
	}
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		key := object.Key{Name: node}
		n, ok := tables.Nodes.Get(tx, key)
		if !ok {
			return nil
		}
		for _, name := range slices.Sorted(maps.Keys(said.Sizes)) {
			resized(tx, node, name, said.Sizes[name])
		}
		for _, name := range slices.Sorted(maps.Keys(said.Infeasible)) {
			infeasible(tx, node, name, said.Infeasible[name])
		}
		labelled := n.DeepCopy()
		labelled.Labels = merge(n.Labels, said.Topology)
		if !equality.Semantic.DeepEqual(n, labelled) {
			tables.Nodes.Put(tx, labelled)
		}
		old, ok := tables.CSINodes.Get(tx, key)
		next := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: node, UID: n.UID},
		}}}
		if ok {
			next = old.DeepCopy()
		} else if len(now.Spec.Drivers) == 0 {
			return nil
		}
		next.Spec.Drivers = now.Spec.Drivers
		if ok && equality.Semantic.DeepEqual(old, next) {
			return nil
		}
		tables.CSINodes.Put(tx, next)
		return nil
	})
	return err
}

// growing returns a volume of a driver and its claim, where a pod of the node names that.
func growing(tx *store.Tx, node, volume string) (v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim, ok bool) {
	v, ok = tables.PersistentVolumes.Get(tx, object.Key{Name: volume})
	if !ok || v.Spec.CSI == nil || v.Spec.ClaimRef == nil {
		return nil, nil, false
	}
	key := object.Key{Namespace: v.Spec.ClaimRef.Namespace, Name: v.Spec.ClaimRef.Name}
	c, ok = tables.PersistentVolumeClaims.Get(tx, key)
	return v, c, ok && claim.BoundTo(c, v) && usedOn(tx, key, node)
}

// resized writes in the status of a volume's claim how many bytes a node that has it for
// a pod says it has: where that is more, its growth is complete (Kubernetes, "Resizing a
// volume containing a file system").
func resized(tx *store.Tx, node, volume string, bytes int64) {
	v, c, ok := growing(tx, node, volume)
	if !ok {
		return
	}
	size := v.Spec.Capacity[corev1.ResourceStorage]
	if bytes < size.Value() {
		size = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	if size.Cmp(c.Status.Capacity[corev1.ResourceStorage]) <= 0 {
		return
	}
	next := c.DeepCopy()
	if next.Status.Capacity == nil {
		next.Status.Capacity = corev1.ResourceList{}
	}
	next.Status.Capacity[corev1.ResourceStorage] = size
	delete(next.Status.AllocatedResourceStatuses, corev1.ResourceStorage)
	next.Status.Conditions = slices.DeleteFunc(next.Status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
		return slices.Contains(resizing, c.Type)
	})
	tables.PersistentVolumeClaims.Put(tx, next)
}

// infeasible writes in the status of a volume's claim that its node's driver will not give it
// the size that it is to have. It is tried again when a resizer sees another size asked for
// (Kubernetes, "Recovering from failure when expanding volumes").
func infeasible(tx *store.Tx, node, volume string, said *wire.Infeasible) {
	v, c, ok := growing(tx, node, volume)
	if !ok {
		return
	}
	size := v.Spec.Capacity[corev1.ResourceStorage]
	if size.Value() != said.Bytes || size.Cmp(c.Status.Capacity[corev1.ResourceStorage]) <= 0 {
		return
	}
	if c.Status.AllocatedResourceStatuses[corev1.ResourceStorage] == corev1.PersistentVolumeClaimNodeResizeInfeasible {
		return
	}
	next := c.DeepCopy()
	if next.Status.AllocatedResourceStatuses == nil {
		next.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{}
	}
	next.Status.AllocatedResourceStatuses[corev1.ResourceStorage] = corev1.PersistentVolumeClaimNodeResizeInfeasible
	next.Status.Conditions = slices.DeleteFunc(next.Status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimNodeResizeError
	})
	at := metav1.NewTime(tx.Now().Truncate(time.Second))
	next.Status.Conditions = append(next.Status.Conditions, corev1.PersistentVolumeClaimCondition{
		Type: corev1.PersistentVolumeClaimNodeResizeError, Status: corev1.ConditionTrue, LastTransitionTime: at, Reason: "NodeExpansionInfeasible", Message: said.Why,
	})
	tables.PersistentVolumeClaims.Put(tx, next)
}

// resizing are the conditions of a claim whose volume grows.
var resizing = []corev1.PersistentVolumeClaimConditionType{
	corev1.PersistentVolumeClaimResizing, corev1.PersistentVolumeClaimFileSystemResizePending,
	corev1.PersistentVolumeClaimControllerResizeError, corev1.PersistentVolumeClaimNodeResizeError,
}

// usedOn reports whether a pod of the node names the claim.
func usedOn(r store.Reader, key object.Key, node string) bool {
	for row := range tables.Pods.By(r, tables.PodsByClaim, key.String()) {
		if row.Head().Node == node {
			return true
		}
	}
	return false
}

// sendAttachment sends the attachment of a volume to the node, or that it has gone.
func (s *session) sendAttachment(out *outbox, snap *store.Snapshot, key object.Key) error {
	row, ok := tables.VolumeAttachments.Row(snap, key)
	var raw []byte
	switch {
	case ok && row.Object().Spec.NodeName == s.node:
		raw = row.Raw()
		s.attached[key.Name] = true
	case !s.attached[key.Name]:
		return nil
	default:
		delete(s.attached, key.Name)
	}
	return out.put(wire.NewAssignment(string(tables.VolumeAttachments.ID()), key, raw))
}

// driverAsks reports whether a CSI driver that serves a volume of the pod asks for
// such a token of it (API reference, CSIDriverSpec.tokenRequests).
func driverAsks(r store.Reader, p *corev1.Pod, audience string, seconds int64) bool {
	for i := range p.Spec.Volumes {
		d, ok := tables.CSIDrivers.Get(r, object.Key{Name: driverOf(r, p, &p.Spec.Volumes[i])})
		if !ok {
			continue
		}
		for _, t := range d.Spec.TokenRequests {
			if t.Audience == audience && (t.ExpirationSeconds == nil && seconds == tokenSeconds || t.ExpirationSeconds != nil && *t.ExpirationSeconds == seconds) {
				return true
			}
		}
	}
	return false
}

// tokenSeconds is how long a token lasts that a driver names no time for.
const tokenSeconds = 3600

// driverOf returns the name of the CSI driver that serves the pod's volume, empty
// where none does.
func driverOf(r store.Reader, p *corev1.Pod, v *corev1.Volume) string {
	if v.CSI != nil {
		return v.CSI.Driver
	}
	name := claim.NameFor(p, v)
	if name == "" {
		return ""
	}
	c, ok := tables.PersistentVolumeClaims.Get(r, object.Key{Namespace: p.Namespace, Name: name})
	if !ok {
		return ""
	}
	pv, ok := tables.PersistentVolumes.Get(r, object.Key{Name: c.Spec.VolumeName})
	if !ok || pv.Spec.CSI == nil {
		return ""
	}
	return pv.Spec.CSI.Driver
}
