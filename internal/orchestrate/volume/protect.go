package volume

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Protector keeps volumes and claims that are in use (Kubernetes, "Storage
// Object in Use Protection").
type Protector struct {
	leaving map[object.Key]bool // claims that are marked and may be in use
}

// NewProtector returns the loop.
func NewProtector() *Protector { return &Protector{} }

// The methods of loop.Reconciler.

func (p *Protector) Name() string { return "orchestrate/volumeprotection" }

func (p *Protector) Reads() []store.TableID {
	return []store.TableID{tables.PersistentVolumes.ID(), tables.PersistentVolumeClaims.ID(), tables.Pods.ID(), tables.Nodes.ID()}
}

func (p *Protector) Writes() []store.TableID {
	return []store.TableID{tables.PersistentVolumes.ID(), tables.PersistentVolumeClaims.ID()}
}

func (p *Protector) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		p.leaving = map[object.Key]bool{}
	}
	for key := range tables.PersistentVolumes.Changed(tx) {
		v, ok := tables.PersistentVolumes.Get(tx, key)
		if !ok {
			continue
		}
		if next := v.DeepCopy(); hold(next, claim.VolumeProtection, v.Status.Phase == corev1.VolumeBound) {
			tables.PersistentVolumes.Put(tx, next)
		}
	}
	for key := range tables.PersistentVolumeClaims.Changed(tx) {
		c, ok := tables.PersistentVolumeClaims.Get(tx, key)
		if ok && (c.DeletionTimestamp != nil || !slices.Contains(c.Finalizers, claim.ClaimProtection)) {
			p.leaving[key] = true
		}
	}
	for _, key := range set(p.leaving).sorted() {
		c, ok := tables.PersistentVolumeClaims.Get(tx, key)
		if !ok {
			delete(p.leaving, key)
			continue
		}
		if next := c.DeepCopy(); hold(next, claim.ClaimProtection, used(tx, key)) {
			tables.PersistentVolumeClaims.Put(tx, next)
			delete(p.leaving, key)
		}
	}
	return time.Time{}, nil
}

// hold gives o the finalizer unless it is on its way out, and takes it from one
// that is, once it is not in use. It reports whether that changed o.
func hold(o metav1.Object, finalizer string, inUse bool) bool {
	has, leaving := slices.Contains(o.GetFinalizers(), finalizer), o.GetDeletionTimestamp() != nil
	switch {
	case !leaving && !has:
		o.SetFinalizers(append(o.GetFinalizers(), finalizer))
	case leaving && has && !inUse:
		o.SetFinalizers(object.Without(o.GetFinalizers(), finalizer))
	default:
		return false
	}
	return true
}

// used reports whether a pod that names the claim may run on a node, or a volume is to be
// made of the claim's. A pod that has no node yet does not count: it gets none while the claim
// is on its way out.
func used(tx *store.Tx, key object.Key) bool {
	for row := range tables.Pods.By(tx, tables.PodsByClaim, key.String()) {
		if h := row.Head(); h.Node != "" && !h.Ended() {
			return true
		}
	}
	return tables.NeedsSource(tx, key.Namespace, claim.FromClaim(key.Name))
}
