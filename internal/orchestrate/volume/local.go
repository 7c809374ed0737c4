package volume

import (
	"hash/fnv"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// Local is the provisioner trireme.dev/local: it makes volumes that are
// directories below the root directory of one node. The node's agent makes the
// directory for the first pod, or at once where it is to be a copy of another or of a
// snapshot there, and removes it with the volume; until the node's status names it no more, a
// finalizer keeps the volume.
type Local struct {
	leaving map[object.Key]bool // volumes that wait for their node
}

// NewLocal returns the loop.
func NewLocal() *Local { return &Local{} }

// The methods of loop.Reconciler.

func (l *Local) Name() string { return "orchestrate/localvolumes" }

func (l *Local) Reads() []store.TableID {
	return []store.TableID{tables.PersistentVolumeClaims.ID(), tables.PersistentVolumes.ID(), tables.StorageClasses.ID(), tables.Nodes.ID(), tables.CustomObjects.ID()}
}

func (l *Local) Writes() []store.TableID {
	return []store.TableID{tables.PersistentVolumes.ID(), tables.PersistentVolumeClaims.ID(), tables.Events.ID()}
}

func (l *Local) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.leaving = map[object.Key]bool{}
	}
	claims := set{}
	for key := range tables.PersistentVolumeClaims.Changed(tx) {
		claims[key] = true
	}
	room := moreRoom(tx) || sourcesChanged(tx)
	for class := range tables.StorageClasses.All(tx) {
		if !room || class.Provisioner != claim.LocalProvisioner {
			continue
		}
		for row := range tables.PersistentVolumeClaims.By(tx, tables.ClaimsWaiting, class.Name) {
			claims[row.Key()] = true
		}
	}
	for _, key := range claims.sorted() {
		if c, ok := tables.PersistentVolumeClaims.Get(tx, key); ok {
			l.provision(tx, c)
		}
	}
	for key := range tables.PersistentVolumes.Changed(tx) {
		if v, ok := tables.PersistentVolumes.Get(tx, key); ok && v.DeletionTimestamp != nil && slices.Contains(v.Finalizers, claim.LocalData) {
			l.leaving[key] = true
		}
	}
	for _, key := range set(l.leaving).sorted() {
		l.leave(tx, key)
	}
	return time.Time{}, nil
}

// moreRoom reports whether a node may have room for volumes that it had not.
func moreRoom(tx *store.Tx) bool {
	for range tables.Nodes.Changed(tx) {
		return true
	}
	for key := range tables.PersistentVolumes.Changed(tx) {
		if _, ok := tables.PersistentVolumes.Row(tx, key); !ok {
			return true
		}
	}
	return false
}

// leave lets a volume go whose data is gone, is to be kept, or has gone with its
// node.
func (l *Local) leave(tx *store.Tx, key object.Key) {
	v, ok := tables.PersistentVolumes.Get(tx, key)
	if !ok {
		delete(l.leaving, key)
		return
	}
	n, ok := tables.Nodes.Get(tx, object.Key{Name: claim.LocalNode(v)})
	kept := v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain
	if v.Status.Phase == corev1.VolumeBound || ok && !kept && slices.Contains(n.Status.VolumesInUse, claim.LocalName(v.Name)) {
		return
	}
	next := v.DeepCopy()
	next.Finalizers = object.Without(next.Finalizers, claim.LocalData)
	tables.PersistentVolumes.Put(tx, next)
	delete(l.leaving, key)
}

// provision makes the volume that the claim asks this provisioner for.
func (l *Local) provision(tx *store.Tx, c *corev1.PersistentVolumeClaim) {
	if c.Annotations[claim.Provisioner] != claim.LocalProvisioner || c.Spec.VolumeName != "" || c.DeletionTimestamp != nil {
		return
	}
	class, ok := tables.StorageClasses.Get(tx, object.Key{Name: claim.Class(c)})
	if !ok || class.Provisioner != claim.LocalProvisioner {
		return
	}
	key := object.Key{Name: "pvc-" + string(c.UID)}
	if _, ok := tables.PersistentVolumes.Row(tx, key); ok {
		return
	}
	if why := unable(c); why != "" {
		refuse(tx, c, why)
		return
	}
	of, copied := claim.SourceOf(c)
	var n *corev1.Node
	var from origin
	var why string
	if copied {
		n, from, why = beside(tx, c, of)
	} else {
		n, why = nodeFor(tx, c, class)
	}
	switch {
	case why != "" && copied: // no other node will do
		refuse(tx, c, why)
	case why != "":
		unplaceable(tx, c, why)
	}
	if n == nil {
		return // a node that comes, a source, or the scheduler's next choice, wakes the loop
	}
	v := local(key.Name, c, class, n)
	if copied {
		v.Annotations[claim.MadeOf] = from.name
	}
	tables.PersistentVolumes.Put(tx, v)
	tell.Once(tx, tables.PersistentVolumeClaims, c, tell.Event{
		From: claim.LocalProvisioner, Type: corev1.EventTypeNormal, Reason: "ProvisioningSucceeded", Message: "Successfully provisioned volume " + key.Name,
	})
}

// unable says what of the claim a directory cannot be; empty: nothing.
func unable(c *corev1.PersistentVolumeClaim) string {
	switch {
	case c.Spec.VolumeMode != nil && *c.Spec.VolumeMode == corev1.PersistentVolumeBlock:
		return "volumeMode: this class makes directories, not block devices"
	case c.Spec.Selector != nil:
		return "selector: claims with a selector get volumes that are there already"
	}
	return ""
}

// nodeFor returns the node on which the volume is to lie: the one of the claim's
// first pod or, where the class does not wait for it, one of those that are ready. nil:
// there is none, and why where people should know.
func nodeFor(tx *store.Tx, c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (n *corev1.Node, why string) {
	if name := c.Annotations[claim.SelectedNode]; name != "" {
		return nodeOf(tx, c, name)
	}
	if claim.Waits(class) {
		return nil, ""
	}
	size := c.Spec.Resources.Requests.Storage().Value()
	var able []*corev1.Node
	for n := range tables.Nodes.All(tx) {
		if !object.NodeReady(n) || n.Spec.Unschedulable || n.DeletionTimestamp != nil || !claim.AllowsNode(class, n) {
			continue
		}
		if free, says := left(tx, n); says && size > free {
			why = cramped(n.Name, free, size)
			continue
		}
		able = append(able, n)
	}
	if len(able) == 0 {
		return nil, why
	}
	h := fnv.New32a()
	h.Write([]byte(c.UID))
	return able[int(h.Sum32()%uint32(len(able)))], ""
}

// nodeOf returns the node of the name, if it is there and has room for the claim's volume.
func nodeOf(tx *store.Tx, c *corev1.PersistentVolumeClaim, name string) (n *corev1.Node, why string) {
	n, ok := tables.Nodes.Get(tx, object.Key{Name: name})
	if !ok {
		return nil, ""
	}
	size := c.Spec.Resources.Requests.Storage().Value()
	if free, says := left(tx, n); says && size > free {
		return nil, cramped(name, free, size)
	}
	return n, ""
}

// left returns how many bytes more volumes may have on the node's disk; false: the node
// does not say how large that is.
func left(tx *store.Tx, n *corev1.Node) (int64, bool) {
	free, says := claim.LocalDisk(n)
	for row := range tables.PersistentVolumes.By(tx, tables.VolumesByNode, n.Name) {
		free -= row.Object().Spec.Capacity.Storage().Value()
	}
	return max(0, free), says
}

// cramped says that a node's disk has no room for so many bytes more.
func cramped(node string, free, more int64) string {
	size := func(bytes int64) string { return resource.NewQuantity(bytes, resource.BinarySI).String() }
	return "node " + node + " has " + size(free) + " left for volumes on its disk (allocatable ephemeral-storage without the volumes there), " + size(more) + " more are asked for"
}

// refuse says why the claim has no volume.
func refuse(tx *store.Tx, c *corev1.PersistentVolumeClaim, why string) {
	tell.Once(tx, tables.PersistentVolumeClaims, c, tell.Event{From: claim.LocalProvisioner, Type: corev1.EventTypeWarning, Reason: "ProvisioningFailed", Message: why})
}

// unplaceable says why the claim has no volume, and has the scheduler choose again for
// its pod (Kubernetes' provisioners do, where resources are exhausted).
func unplaceable(tx *store.Tx, c *corev1.PersistentVolumeClaim, why string) {
	refuse(tx, c, why)
	if c.Annotations[claim.SelectedNode] == "" {
		return
	}
	next := c.DeepCopy()
	delete(next.Annotations, claim.SelectedNode)
	tables.PersistentVolumeClaims.Put(tx, next)
}

func local(name string, c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, n *corev1.Node) *corev1.PersistentVolume {
	policy, mode := corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeFilesystem
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	host := n.Labels[corev1.LabelHostname]
	if host == "" {
		host = n.Name
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Finalizers: []string{claim.VolumeProtection, claim.LocalData},
			Annotations: map[string]string{claim.ProvisionedBy: claim.LocalProvisioner, claim.SelectedNode: n.Name},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: c.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes: slices.Clone(c.Spec.AccessModes), StorageClassName: class.Name, PersistentVolumeReclaimPolicy: policy, VolumeMode: &mode,
			// Relative to the node's root directory, which only the node knows.
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "volumes/" + name}},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID,
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{host}}},
			}}}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumePending},
	}
}
