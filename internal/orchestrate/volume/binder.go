package volume

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// Binder binds claims to volumes.
type Binder struct {
	cramped set // claims whose volumes their nodes' disks have no room to grow for
}

// NewBinder returns the loop.
func NewBinder() *Binder { return &Binder{cramped: set{}} }

// The methods of loop.Reconciler.

func (b *Binder) Name() string { return "orchestrate/volumes" }

func (b *Binder) Reads() []store.TableID {
	return []store.TableID{tables.PersistentVolumes.ID(), tables.PersistentVolumeClaims.ID(), tables.StorageClasses.ID(), tables.Nodes.ID()}
}

func (b *Binder) Writes() []store.TableID {
	return []store.TableID{tables.PersistentVolumes.ID(), tables.PersistentVolumeClaims.ID(), tables.Events.ID()}
}

// Reconcile looks at the volumes that changed or whose claim did, then at the
// claims that changed or that may have found a volume or a class.
func (b *Binder) Reconcile(tx *store.Tx) (next time.Time, err error) {
	volumes, claims := set{}, set{}
	if tx.FullPass() {
		b.cramped = set{}
	}
	if moreRoom(tx) {
		maps.Copy(claims, b.cramped)
	}
	for key := range tables.PersistentVolumes.Changed(tx) {
		volumes[key] = true
		for row := range tables.PersistentVolumeClaims.By(tx, tables.ClaimsByVolume, key.Name) {
			claims[row.Key()] = true
		}
	}
	for key := range tables.PersistentVolumeClaims.Changed(tx) {
		claims[key] = true
		for row := range tables.PersistentVolumes.By(tx, tables.VolumesByClaim, key.String()) {
			volumes[row.Key()] = true
		}
	}
	for _, key := range volumes.sorted() {
		b.volume(tx, key)
		b.wanted(tx, key, claims)
	}
	for key := range tables.StorageClasses.Changed(tx) {
		for _, class := range []string{key.Name, ""} { // a default class serves claims of none
			for row := range tables.PersistentVolumeClaims.By(tx, tables.ClaimsWaiting, class) {
				claims[row.Key()] = true
			}
		}
	}
	for _, c := range oldest(tx, claims) {
		b.claim(tx, c)
	}
	return time.Time{}, nil
}

type set map[object.Key]bool

func (s set) sorted() []object.Key {
	keys := make([]object.Key, 0, len(s))
	for k := range s {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, object.Key.Compare)
	return keys
}

// oldest returns the keys of the claims that are there, the oldest first: who
// came first is served first.
func oldest(tx *store.Tx, claims set) []object.Key {
	created := map[object.Key]time.Time{}
	var keys []object.Key
	for _, key := range claims.sorted() {
		if c, ok := tables.PersistentVolumeClaims.Get(tx, key); ok {
			created[key] = c.CreationTimestamp.Time
			keys = append(keys, key)
		}
	}
	slices.SortStableFunc(keys, func(a, b object.Key) int { return created[a].Compare(created[b]) })
	return keys
}

// wanted adds the claims that may want the volume at key.
func (b *Binder) wanted(tx *store.Tx, key object.Key, claims set) {
	v, ok := tables.PersistentVolumes.Get(tx, key)
	if !ok {
		return
	}
	if ref := v.Spec.ClaimRef; ref != nil {
		claims[object.Key{Namespace: ref.Namespace, Name: ref.Name}] = true
		return
	}
	for row := range tables.PersistentVolumeClaims.By(tx, tables.ClaimsWaiting, claim.VolumeClass(v)) {
		if claim.Fits(v, row.Object()) {
			claims[row.Key()] = true
		}
	}
}

// claim takes one step for the claim at key.
func (b *Binder) claim(tx *store.Tx, key object.Key) {
	c, ok := tables.PersistentVolumeClaims.Get(tx, key)
	if !ok {
		return
	}
	_, was := c.Annotations[claim.BindCompleted]
	if c.Spec.VolumeName == "" {
		switch {
		case was:
			lose(tx, c, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
		case c.DeletionTimestamp == nil:
			b.find(tx, c)
		}
		return
	}
	v, ok := tables.PersistentVolumes.Get(tx, object.Key{Name: c.Spec.VolumeName})
	free := ok && v.Spec.ClaimRef == nil
	switch {
	case !ok && was:
		lose(tx, c, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case !ok:
		pend(tx, c, tell.Event{})
	case !free && !claim.HoldsFor(v, c) && was:
		lose(tx, c, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
	case !free && !claim.HoldsFor(v, c):
		pend(tx, c, warning("FailedBinding", "volume \""+v.Name+"\" already bound to a different claim."))
	case !was && claim.Satisfies(v, c) != "":
		pend(tx, c, warning("VolumeMismatch", "Cannot bind to requested volume \""+v.Name+"\": "+claim.Satisfies(v, c)))
	case !was && (c.DeletionTimestamp != nil || v.DeletionTimestamp != nil):
	default:
		b.bind(tx, v, c)
	}
}

// find looks for a volume of a claim that names none.
func (b *Binder) find(tx *store.Tx, c *corev1.PersistentVolumeClaim) {
	for row := range tables.PersistentVolumes.By(tx, tables.VolumesByClaim, object.KeyOf(c).String()) {
		if v := row.Object(); claim.HoldsFor(v, c) && v.DeletionTimestamp == nil && claim.Satisfies(v, c) == "" {
			b.bind(tx, v, c)
			return
		}
	}
	name := claim.Class(c)
	class, known := tables.StorageClasses.Get(tx, object.Key{Name: name})
	if !claim.Waits(class) {
		if v := smallest(tx, c); v != nil {
			b.bind(tx, v, c)
			return
		}
	}
	if c.Spec.StorageClassName == nil && name == "" {
		if d := policy.DefaultStorageClass(tx); d != nil {
			next := c.DeepCopy()
			next.Spec.StorageClassName = &d.Name
			tables.PersistentVolumeClaims.Put(tx, next)
			return
		}
	}
	switch {
	case name == "":
		pend(tx, c, tell.Event{Type: corev1.EventTypeNormal, Reason: "FailedBinding", Message: "no persistent volumes available for this claim and no storage class is set"})
	case !known:
		pend(tx, c, warning("ProvisioningFailed", "storageclass.storage.k8s.io \""+name+"\" not found"))
	case claim.Waits(class) && c.Annotations[claim.SelectedNode] == "" && !claim.Placed(c, class):
		pend(tx, c, tell.Event{Type: corev1.EventTypeNormal, Reason: "WaitForFirstConsumer", Message: "waiting for first consumer to be created before binding"})
	case class.Provisioner == claim.NoProvisioner:
		pend(tx, c, warning("ProvisioningFailed", "no volume fits, and class "+name+" makes none: its provisioner is "+claim.NoProvisioner))
	default:
		order(tx, c, class)
	}
}

// smallest returns the smallest free volume that fits, nil if none does.
func smallest(tx *store.Tx, c *corev1.PersistentVolumeClaim) (best *corev1.PersistentVolume) {
	for row := range tables.PersistentVolumes.By(tx, tables.VolumesFree, claim.Class(c)) {
		if v := row.Object(); claim.Fits(v, c) && (best == nil || claim.Smaller(v, best) < 0) {
			best = v
		}
	}
	return best
}

// order asks the class's provisioner for a volume.
func order(tx *store.Tx, c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) {
	p := class.Provisioner
	if c.Annotations[claim.Provisioner] != p || c.Annotations[claim.BetaProvisioner] != p {
		c = c.DeepCopy()
		note(c, claim.Provisioner, p)
		note(c, claim.BetaProvisioner, p)
		tables.PersistentVolumeClaims.Put(tx, c)
	}
	if p == claim.LocalProvisioner {
		pend(tx, c, tell.Event{})
		return
	}
	pend(tx, c, tell.Event{Type: corev1.EventTypeNormal, Reason: "ExternalProvisioning", Message: "Waiting for a volume to be created either by the external provisioner '" + p +
		"' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."})
}

func warning(reason, message string) tell.Event {
	return tell.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message}
}

// from is how Kubernetes names the controller that binds.
const from = "persistentvolume-controller"

// pend says that the claim waits, and why where e has a reason.
func pend(tx *store.Tx, c *corev1.PersistentVolumeClaim, e tell.Event) {
	if c.Status.Phase != corev1.ClaimPending {
		next := c.DeepCopy()
		next.Status.Phase = corev1.ClaimPending
		tables.PersistentVolumeClaims.Put(tx, next)
		c = next
	}
	if e.From = from; e.Reason != "" {
		tell.Once(tx, tables.PersistentVolumeClaims, c, e)
	}
}

// lose says that the claim's volume is gone for good.
func lose(tx *store.Tx, c *corev1.PersistentVolumeClaim, reason, message string) {
	if c.Status.Phase == corev1.ClaimLost {
		return
	}
	next := c.DeepCopy()
	next.Status.Phase = corev1.ClaimLost
	tables.PersistentVolumeClaims.Put(tx, next)
	tell.Once(tx, tables.PersistentVolumeClaims, next, tell.Event{From: from, Type: corev1.EventTypeWarning, Reason: reason, Message: message})
}
