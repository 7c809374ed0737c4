package volume

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// note writes an annotation.
func note(o metav1.Object, key, value string) {
	a := o.GetAnnotations()
	if a == nil {
		a = map[string]string{}
	}
	a[key] = value
	o.SetAnnotations(a)
}

// bind makes volume and claim name each other and says so on both.
func (b *Binder) bind(tx *store.Tx, v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) {
	nv := v.DeepCopy()
	if ref := nv.Spec.ClaimRef; ref == nil || ref.UID == "" {
		if ref == nil {
			note(nv, claim.BoundByController, "yes")
		}
		nv.Spec.ClaimRef = &corev1.ObjectReference{
			APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID,
		}
	}
	setPhase(tx, nv, corev1.VolumeBound)
	nc := c.DeepCopy()
	if nc.Spec.VolumeName == "" {
		nc.Spec.VolumeName = v.Name
		note(nc, claim.BoundByController, "yes")
	}
	if _, was := nc.Annotations[claim.BindCompleted]; !was {
		note(nc, claim.BindCompleted, "yes")
	}
	refused := grow(tx, nv, nc)
	if nc.Status.Phase != corev1.ClaimBound {
		// A bound claim's capacity may differ on purpose: its file system grows after
		// its volume.
		nc.Status.Phase = corev1.ClaimBound
		nc.Status.AccessModes = v.Spec.AccessModes
		nc.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: nv.Spec.Capacity[corev1.ResourceStorage]}
		nc.Status.CurrentVolumeAttributesClassName = v.Spec.VolumeAttributesClassName
	}
	if !equality.Semantic.DeepEqual(v, nv) {
		tables.PersistentVolumes.Put(tx, nv)
	}
	if !equality.Semantic.DeepEqual(c, nc) {
		tables.PersistentVolumeClaims.Put(tx, nc)
	}
	waitForGrowth(tx, nv, nc)
	if delete(b.cramped, object.KeyOf(c)); refused != "" {
		b.cramped[object.KeyOf(c)] = true
		tell.Once(tx, tables.PersistentVolumeClaims, nc, tell.Event{From: "volume_expand", Type: corev1.EventTypeWarning, Reason: "VolumeResizeFailed", Message: refused})
	}
}

// grow gives a claim on a directory of ours the size it asks for: nothing needs
// to be done for it where the disk has room. It returns why it does not.
func grow(tx *store.Tx, v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) (refused string) {
	want, have := c.Spec.Resources.Requests[corev1.ResourceStorage], v.Spec.Capacity[corev1.ResourceStorage]
	if c.Status.Phase != corev1.ClaimBound || claim.LocalNode(v) == "" || want.Cmp(have) <= 0 {
		return ""
	}
	if n, ok := tables.Nodes.Get(tx, object.Key{Name: claim.LocalNode(v)}); ok {
		more := want.Value() - have.Value()
		if free, says := left(tx, n); says && more > free {
			return cramped(n.Name, free, more)
		}
	}
	v.Spec.Capacity[corev1.ResourceStorage] = want
	c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: want}
	return ""
}

// waitForGrowth tells who has to grow the volume of a claim that asks for more.
func waitForGrowth(tx *store.Tx, v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) {
	want, have := c.Spec.Resources.Requests[corev1.ResourceStorage], c.Status.Capacity[corev1.ResourceStorage]
	if want.Cmp(have) <= 0 || v.Spec.CSI == nil || c.DeletionTimestamp != nil {
		return
	}
	tell.Once(tx, tables.PersistentVolumeClaims, c, tell.Event{
		From: "volume_expand", Type: corev1.EventTypeNormal, Reason: "ExternalExpanding", Message: "waiting for an external controller to expand this PVC",
	})
}

// setPhase moves the volume to a phase, and notes when.
func setPhase(tx *store.Tx, v *corev1.PersistentVolume, phase corev1.PersistentVolumePhase) {
	if v.Status.Phase == phase {
		return
	}
	at := metav1.NewTime(tx.Now().Truncate(time.Second))
	v.Status = corev1.PersistentVolumeStatus{Phase: phase, LastPhaseTransitionTime: &at}
}

// volume takes one step for the volume at key: its phase follows its claim.
func (b *Binder) volume(tx *store.Tx, key object.Key) {
	v, ok := tables.PersistentVolumes.Get(tx, key)
	if !ok {
		return
	}
	next := v.DeepCopy()
	ref := next.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		setPhase(tx, next, corev1.VolumeAvailable)
		put(tx, v, next)
		return
	}
	c, ok := tables.PersistentVolumeClaims.Get(tx, object.Key{Namespace: ref.Namespace, Name: ref.Name})
	switch {
	case !ok || c.UID != ref.UID:
		release(tx, v, next)
		return
	case c.Spec.VolumeName == v.Name && c.Annotations[claim.BindCompleted] != "":
		setPhase(tx, next, corev1.VolumeBound)
	case c.Spec.VolumeName == "" || c.Spec.VolumeName == v.Name:
		return // the claim takes the next step
	case next.Annotations[claim.ProvisionedBy] != "" && next.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		release(tx, v, next) // it was made for a claim that has found another
		return
	case next.Annotations[claim.BoundByController] != "":
		delete(next.Annotations, claim.BoundByController)
		next.Spec.ClaimRef = nil
		setPhase(tx, next, corev1.VolumeAvailable)
	default:
		ref.UID, ref.ResourceVersion = "", ""
		setPhase(tx, next, corev1.VolumeAvailable)
	}
	put(tx, v, next)
}

func put(tx *store.Tx, v, next *corev1.PersistentVolume) {
	if !equality.Semantic.DeepEqual(v, next) {
		tables.PersistentVolumes.Put(tx, next)
	}
}

// release says that the volume's claim is gone and does what its reclaim policy
// says. Whoever made a volume deletes it: only ours is deleted here.
func release(tx *store.Tx, v, next *corev1.PersistentVolume) {
	if next.Status.Phase != corev1.VolumeReleased && next.Status.Phase != corev1.VolumeFailed {
		setPhase(tx, next, corev1.VolumeReleased)
	}
	made := next.Annotations[claim.ProvisionedBy] != "" || next.Spec.CSI != nil
	switch policy := next.Spec.PersistentVolumeReclaimPolicy; {
	case policy == corev1.PersistentVolumeReclaimRecycle:
		fail(tx, next, "VolumeFailedRecycle", "recycling is not supported: use the reclaim policy Retain or Delete")
	case policy == corev1.PersistentVolumeReclaimDelete && !made:
		fail(tx, next, "VolumeFailedDelete", "error getting deleter volume plugin for volume \""+v.Name+"\": no deletable volume plugin matched")
	case policy == corev1.PersistentVolumeReclaimDelete && claim.LocalNode(next) != "":
		remove, _ := object.Deletion{Now: tx.Now()}.Mark(next)
		if remove {
			tables.PersistentVolumes.Delete(tx, object.KeyOf(v))
			return
		}
	}
	put(tx, v, next)
}

func fail(tx *store.Tx, v *corev1.PersistentVolume, reason, message string) {
	if v.Status.Phase == corev1.VolumeFailed {
		return
	}
	setPhase(tx, v, corev1.VolumeFailed)
	v.Status.Message = message
	tell.Once(tx, tables.PersistentVolumes, v, tell.Event{From: from, Type: corev1.EventTypeWarning, Reason: reason, Message: message})
}
