package volumes

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Asks is what the claims that a pod names ask of its node.
type Asks struct {
	refused string                     // why no node may have the pod; empty: ask each
	bound   []*corev1.PersistentVolume // of its bound claims
	wishes  []wish                     // the smallest first
	// promised is the node for which a claim's volume is being made, "" for none.
	promised string
	alone    []string // claims that one pod at a time may use
	users    Users
}

// wish is a claim that is bound when its pod has a node.
type wish struct {
	claim *corev1.PersistentVolumeClaim
	class *storagev1.StorageClass
	free  []*corev1.PersistentVolume // that fit, the smallest first
	// room is where the class's driver has how much, tracked that it says so.
	room    []*storagev1.CSIStorageCapacity
	tracked bool
}

// The words of Kubernetes' plug-ins VolumeBinding and VolumeRestrictions.
const (
	// WaitingFor begins what a pod is told that waits until volumes are made.
	WaitingFor = "waiting for volumes of claims "
	notBound   = "pod has unbound immediate PersistentVolumeClaims"
	notHere    = "node(s) didn't match PersistentVolume's node affinity"
	// NoneToBind: no free volume fits.
	NoneToBind = "node(s) didn't find available persistent volumes to bind"
	usedAlone  = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
)

// Of looks at the claims that the pod names; nil: it names none. users are those of all pods with a node, now and later.
func Of(r store.Reader, p *corev1.Pod, users Users) *Asks {
	v := &Asks{users: users}
	named := false
	for i := range p.Spec.Volumes {
		name := claim.NameFor(p, &p.Spec.Volumes[i])
		if name == "" {
			continue
		}
		named = true
		if v.refused = v.take(r, p, name, p.Spec.Volumes[i].Ephemeral != nil); v.refused != "" {
			return v
		}
	}
	if !named {
		return nil
	}
	slices.SortStableFunc(v.wishes, func(a, b wish) int {
		x, y := a.claim.Spec.Resources.Requests[corev1.ResourceStorage], b.claim.Spec.Resources.Requests[corev1.ResourceStorage]
		return x.Cmp(y)
	})
	return v
}

// take takes in one claim, or says why the pod cannot run with it.
func (v *Asks) take(r store.Reader, p *corev1.Pod, name string, own bool) string {
	key := object.Key{Namespace: p.Namespace, Name: name}
	c, ok := tables.PersistentVolumeClaims.Get(r, key)
	switch {
	case !ok && own:
		return "waiting for ephemeral volume controller to create the persistentvolumeclaim \"" + name + "\""
	case !ok:
		return "persistentvolumeclaim \"" + name + "\" not found"
	case own && !claim.Owns(p, c):
		return "PVC " + key.String() + " was not created for pod " + object.KeyOf(p).String() + " (pod is not owner)"
	case c.DeletionTimestamp != nil:
		return "persistentvolumeclaim \"" + name + "\" is being deleted"
	case c.Status.Phase == corev1.ClaimLost:
		return "persistentvolumeclaim \"" + name + "\" bound to non-existent persistentvolume \"" + c.Spec.VolumeName + "\""
	}
	if slices.Contains(c.Spec.AccessModes, corev1.ReadWriteOncePod) {
		v.alone = append(v.alone, key.String())
	}
	if c.Spec.VolumeName != "" {
		pv, ok := tables.PersistentVolumes.Get(r, object.Key{Name: c.Spec.VolumeName})
		if !ok || c.Annotations[claim.BindCompleted] == "" {
			return notBound
		}
		v.bound = append(v.bound, pv)
		return ""
	}
	class, _ := tables.StorageClasses.Get(r, object.Key{Name: claim.Class(c)})
	if !claim.Waits(class) {
		return notBound
	}
	w := wish{claim: c, class: class}
	w.room, w.tracked = capacities(r, class)
	for row := range tables.PersistentVolumes.By(r, tables.VolumesFree, class.Name) {
		if pv := row.Object(); claim.Fits(pv, c) {
			w.free = append(w.free, pv)
		}
	}
	slices.SortFunc(w.free, claim.Smaller)
	v.wishes = append(v.wishes, w)
	if v.promised == "" {
		v.promised = c.Annotations[claim.SelectedNode]
	}
	return ""
}

// Refused returns why no node may have the pod; empty: each is to be asked.
func (v *Asks) Refused() string { return v.refused }

// Promised returns the node for which a volume is being made; empty: none.
func (v *Asks) Promised() string { return v.promised }

// Refuses returns why the node, which has these volumes, may not have the pod; empty: it may.
func (v *Asks) Refuses(row *corev1.Node, n *Node) string {
	if v.refused != "" {
		return v.refused
	}
	if v.busy() {
		return usedAlone
	}
	for _, pv := range v.bound {
		if !claim.FitsNode(pv, row) {
			return notHere
		}
	}
	picks, ok := v.picks(row)
	switch {
	case !ok:
		return NoneToBind
	case v.exceeds(n, picks):
		return tooMany
	}
	var local int64
	for i, pv := range picks {
		if pv != nil {
			continue
		}
		if w := &v.wishes[i]; w.class.Provisioner == claim.LocalProvisioner {
			local += w.claim.Spec.Resources.Requests.Storage().Value()
		} else if !w.hasRoom(row) {
			return noRoom
		}
	}
	if !n.stores(row, local) {
		return noRoom
	}
	return ""
}

// busy reports whether another pod has a claim that one pod at a time may use.
func (v *Asks) busy() bool {
	return slices.ContainsFunc(v.alone, func(key string) bool { return v.users[key] > 0 })
}

// picks chooses a free volume for each wish that can be reached from the node;
// nil where its class has to make one. false: a wish stays open.
func (v *Asks) picks(n *corev1.Node) (out []*corev1.PersistentVolume, ok bool) {
	for _, w := range v.wishes {
		i := slices.IndexFunc(w.free, func(pv *corev1.PersistentVolume) bool {
			return !slices.Contains(out, pv) && claim.FitsNode(pv, n)
		})
		switch {
		case i >= 0:
			out = append(out, w.free[i])
		case w.class.Provisioner == claim.NoProvisioner || !claim.AllowsNode(w.class, n):
			return nil, false
		default:
			out = append(out, nil)
		}
	}
	return out, true
}

// Settle binds the pod's open claims for the node: a free volume gets the
// claim's name, and the binder does the rest; a class is asked to make one there.
// It returns what the pod has to wait for, "" for nothing, and false where a
// volume is not free any more: look again.
func (v *Asks) Settle(tx *store.Tx, n *corev1.Node) (wait string, fresh bool) {
	if !v.busy() && len(v.wishes) == 0 {
		return "", true
	}
	if v.busy() {
		return "", false
	}
	picks, ok := v.picks(n)
	if !ok {
		return "", false
	}
	for i, pv := range picks {
		if pv == nil {
			continue
		}
		if now, ok := tables.PersistentVolumes.Get(tx, object.KeyOf(pv)); !ok || !claim.Fits(now, v.wishes[i].claim) {
			return "", false
		}
	}
	var made []string
	for i, pv := range picks {
		w := v.wishes[i]
		if pv == nil {
			selectNode(tx, w.claim, n.Name)
			made = append(made, w.claim.Name)
			continue
		}
		now, _ := tables.PersistentVolumes.Get(tx, object.KeyOf(pv))
		next := now.DeepCopy()
		next.Spec.ClaimRef = &corev1.ObjectReference{
			APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: w.claim.Namespace, Name: w.claim.Name, UID: w.claim.UID,
		}
		annotate(&next.ObjectMeta.Annotations, claim.BoundByController, "yes")
		tables.PersistentVolumes.Put(tx, next)
	}
	if len(made) == 0 {
		return "", true
	}
	return WaitingFor + strings.Join(made, ", ") + " to be made for node " + n.Name, true
}

func selectNode(tx *store.Tx, c *corev1.PersistentVolumeClaim, node string) {
	now, ok := tables.PersistentVolumeClaims.Get(tx, object.KeyOf(c))
	if !ok || now.Annotations[claim.SelectedNode] == node {
		return
	}
	next := now.DeepCopy()
	annotate(&next.ObjectMeta.Annotations, claim.SelectedNode, node)
	tables.PersistentVolumeClaims.Put(tx, next)
}

func annotate(to *map[string]string, key, value string) {
	if *to == nil {
		*to = map[string]string{}
	}
	(*to)[key] = value
}
