package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/swarm"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// inUse holds a Volume that is deleted until no pod has it any more.
const inUse = "swarm.trireme.dev/in-use"

// Named sees to volumes with a name (object/swarm, Volume): one that a pod names and
// that is not there is made, and so is a PersistentVolume of trireme.dev/local for its
// data on the pod's node. That is kept (Retain) until the Volume has gone, which waits
// for its pods; then it may go (Delete), and Binder, Local and the node do the rest.
type Named struct {
	leaving map[object.Key]bool // Volumes that wait for their pods
	orphans map[object.Key]bool // PersistentVolumes whose Volume has gone
}

// NewNamed returns the loop.
func NewNamed() *Named { return &Named{} }

// The methods of loop.Reconciler.

func (l *Named) Name() string { return "orchestrate/namedvolumes" }

func (l *Named) Reads() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.PersistentVolumes.ID(), tables.CustomObjects.ID(), tables.Namespaces.ID()}
}

func (l *Named) Writes() []store.TableID {
	return []store.TableID{tables.PersistentVolumes.ID(), tables.CustomObjects.ID()}
}

func (l *Named) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		l.leaving, l.orphans = map[object.Key]bool{}, map[object.Key]bool{}
	}
	for key := range tables.Pods.Changed(tx) {
		if row, ok := tables.Pods.Row(tx, key); ok {
			if err := l.serve(tx, row); err != nil {
				return time.Time{}, err
			}
		}
	}
	for at := range tables.CustomObjects.Changed(tx) {
		if key, ok := tables.IsSwarmVolume(at); ok {
			if err := l.observe(tx, key); err != nil {
				return time.Time{}, err
			}
		}
	}
	for key := range tables.PersistentVolumes.Changed(tx) {
		if v, ok := tables.PersistentVolumes.Get(tx, key); ok && orphan(tx, v) {
			l.orphans[key] = true
		}
	}
	for _, key := range set(l.leaving).sorted() {
		l.leave(tx, key)
	}
	for _, key := range set(l.orphans).sorted() {
		if v, ok := tables.PersistentVolumes.Get(tx, key); ok && orphan(tx, v) {
			next := v.DeepCopy()
			next.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
			tables.PersistentVolumes.Put(tx, next)
		}
		delete(l.orphans, key)
	}
	return time.Time{}, nil
}

// has reports whether the pod may have volumes with a name, on a node.
func has(h *tables.PodHead) bool {
	return h.Node != "" && !h.Ended() && h.Labels[swarm.VolumesLabel] == "true"
}

// serve makes what the pod's volumes need.
func (l *Named) serve(tx *store.Tx, row store.Row[*corev1.Pod, *tables.PodHead]) error {
	if h := row.Head(); !has(h) || h.Deleting || reap.Terminating(tx, row.Key().Namespace) {
		return nil
	}
	for _, v := range swarm.NamedVolumes(row.Object()) {
		if err := ensure(tx, v, row.Head().Node); err != nil {
			return err
		}
	}
	return nil
}

// ensure makes the Volume, and what holds its data on the node, where they are missing.
func ensure(tx *store.Tx, v *swarm.Volume, node string) error {
	key := object.KeyOf(v)
	have, ok := tables.SwarmVolume(tx, key)
	if !ok {
		v.UID, v.Finalizers = tx.NewID(), []string{inUse}
		u, err := v.Unstructured()
		if err != nil {
			return err
		}
		tables.CustomObjects.PutAt(tx, tables.SwarmVolumeKey(key), u)
		have = v
	}
	name := dataName(have.UID, node)
	if _, ok := tables.PersistentVolumes.Row(tx, object.Key{Name: name}); ok || have.DeletionTimestamp != nil {
		return nil
	}
	tables.PersistentVolumes.Put(tx, data(name, have, node))
	return nil
}

// observe looks at a Volume that has changed.
func (l *Named) observe(tx *store.Tx, key object.Key) error {
	v, ok := tables.SwarmVolume(tx, key)
	switch {
	case ok && v.DeletionTimestamp != nil:
		l.leaving[key] = true
		return nil
	case ok:
		holdBy(tx, key, append(v.Finalizers, inUse), !slices.Contains(v.Finalizers, inUse))
		return nil
	}
	for pv := range tables.PersistentVolumes.All(tx) {
		if pv.Annotations[swarm.VolumeAnnotation] == key.String() && orphan(tx, pv) {
			l.orphans[object.KeyOf(pv)] = true
		}
	}
	for row := range tables.Pods.Rows(tx, key.Namespace) { // others wait for it to be made anew
		if has(row.Head()) && names(row.Object(), key.Name) {
			if err := l.serve(tx, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdBy writes a Volume's finalizers, where they differ.
func holdBy(tx *store.Tx, key object.Key, finalizers []string, differ bool) {
	row, ok := tables.CustomObjects.Row(tx, tables.SwarmVolumeKey(key))
	if !ok || !differ {
		return
	}
	next := row.Object().DeepCopy()
	next.SetFinalizers(finalizers)
	if next.GetDeletionTimestamp() != nil && len(finalizers) == 0 {
		tables.CustomObjects.Delete(tx, tables.SwarmVolumeKey(key))
		return
	}
	tables.CustomObjects.PutAt(tx, tables.SwarmVolumeKey(key), next)
}

// leave lets a Volume go that is deleted, once no pod has it where its data is.
func (l *Named) leave(tx *store.Tx, key object.Key) {
	v, ok := tables.SwarmVolume(tx, key)
	if !ok || v.DeletionTimestamp == nil {
		delete(l.leaving, key)
		return
	}
	for row := range tables.Pods.Rows(tx, key.Namespace) {
		if h := row.Head(); has(h) && names(row.Object(), key.Name) {
			if _, there := tables.PersistentVolumes.Row(tx, object.Key{Name: dataName(v.UID, h.Node)}); there {
				return // the pod's end wakes the loop
			}
		}
	}
	holdBy(tx, key, object.Without(v.Finalizers, inUse), slices.Contains(v.Finalizers, inUse))
	delete(l.leaving, key)
}

func names(p *corev1.Pod, volume string) bool {
	return slices.ContainsFunc(swarm.NamedVolumes(p), func(v *swarm.Volume) bool { return v.Name == volume })
}

// dataName is the name of a Volume's data on a node.
func dataName(volume types.UID, node string) string {
	sum := sha256.Sum256([]byte(string(volume) + "/" + node))
	return "volume-" + hex.EncodeToString(sum[:10])
}

// data is what holds a Volume's data on a node. The claim that it is kept for is none
// that there could be: no other gets it.
func data(name string, v *swarm.Volume, node string) *corev1.PersistentVolume {
	mode := corev1.PersistentVolumeFilesystem
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Finalizers: []string{claim.LocalData},
			Annotations: map[string]string{
				claim.ProvisionedBy: claim.LocalProvisioner, claim.SelectedNode: node, swarm.VolumeAnnotation: object.KeyOf(v).String(),
			},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(1, resource.BinarySI)}, // none is promised
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, VolumeMode: &mode,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "volumes/" + name}},
			ClaimRef:                      &corev1.ObjectReference{APIVersion: swarm.Group.String(), Kind: swarm.VolumeKind.Kind, Namespace: v.Namespace, Name: v.Name, UID: v.UID},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumePending},
	}
}

// orphan reports whether it is data of a Volume that is not there, and is kept.
func orphan(tx *store.Tx, v *corev1.PersistentVolume) bool {
	of := v.Annotations[swarm.VolumeAnnotation]
	if of == "" || v.Spec.ClaimRef == nil || v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		return false
	}
	have, ok := tables.SwarmVolume(tx, object.ParseKey(of))
	return !ok || have.UID != v.Spec.ClaimRef.UID
}
