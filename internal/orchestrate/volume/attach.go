package volume

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// Attacher asks for the volumes of CSI drivers to be attached to the nodes of the pods
// that use them, and to be detached when nothing there uses them any more. A driver's
// own attacher does it, and says so in the VolumeAttachment's status (Kubernetes'
// attach/detach controller).
type Attacher struct {
	uses   map[object.Key][]use      // of pods on a node, for volumes that are attached
	users  map[object.Key]set        // pods by attachment
	volume map[object.Key]object.Key // the volumes of attachments that are there
	away   map[object.Key]time.Time  // when attachments end that a lost node holds
}

// use is one pod's use of a volume on its node.
type use struct {
	attachment object.Key
	driver     string
	needs      bool // the driver attaches
}

// NewAttacher returns the loop.
func NewAttacher() *Attacher { return &Attacher{} }

// The methods of loop.Reconciler.

func (a *Attacher) Name() string { return "orchestrate/volumeattachments" }

func (a *Attacher) Reads() []store.TableID {
	return []store.TableID{
		tables.Pods.ID(), tables.PersistentVolumeClaims.ID(), tables.PersistentVolumes.ID(), tables.CSIDrivers.ID(),
		tables.Nodes.ID(), tables.VolumeAttachments.ID(),
	}
}

func (a *Attacher) Writes() []store.TableID {
	return []store.TableID{tables.VolumeAttachments.ID(), tables.Events.ID()}
}

func (a *Attacher) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		a.uses, a.users, a.volume = map[object.Key][]use{}, map[object.Key]set{}, map[object.Key]object.Key{}
		a.away = map[object.Key]time.Time{}
	}
	pods, look := a.dirtyPods(tx), set{}
	for key := range tables.VolumeAttachments.Changed(tx) {
		look[key] = true
		if at, ok := tables.VolumeAttachments.Get(tx, key); ok && at.Spec.Source.PersistentVolumeName != nil {
			a.volume[key] = object.Key{Name: *at.Spec.Source.PersistentVolumeName}
			continue
		}
		podsOfVolume(tx, a.volume[key], pods) // who waits for it to be free elsewhere
		delete(a.volume, key)
	}
	for key := range tables.Nodes.Changed(tx) {
		for row := range tables.VolumeAttachments.By(tx, tables.AttachmentsByNode, key.Name) {
			look[row.Key()] = true
		}
	}
	for _, key := range pods.sorted() {
		for _, u := range a.uses[key] {
			look[u.attachment] = true
			if delete(a.users[u.attachment], key); len(a.users[u.attachment]) == 0 {
				delete(a.users, u.attachment)
			}
		}
		delete(a.uses, key)
		for _, u := range usesOf(tx, key) {
			a.uses[key] = append(a.uses[key], u)
			if a.users[u.attachment] == nil {
				a.users[u.attachment] = set{}
			}
			a.users[u.attachment][key] = true
			if u.needs {
				a.attach(tx, key, u)
			}
		}
	}
	for key, at := range a.away {
		if !tx.Now().Before(at) {
			look[key] = true
		}
	}
	for _, key := range look.sorted() {
		a.release(tx, key)
	}
	for _, at := range a.away {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, nil
}

// dirtyPods returns the pods whose use of volumes may have changed.
func (a *Attacher) dirtyPods(tx *store.Tx) set {
	pods := set{}
	for key := range tables.Pods.Changed(tx) {
		if row, ok := tables.Pods.Row(tx, key); a.uses[key] != nil || ok && len(row.Indexed(tables.PodsByClaim)) > 0 {
			pods[key] = true
		}
	}
	for key := range tables.PersistentVolumeClaims.Changed(tx) {
		podsOfClaim(tx, key, pods)
	}
	for key := range tables.PersistentVolumes.Changed(tx) {
		podsOfVolume(tx, key, pods)
	}
	drivers := set{}
	for key := range tables.CSIDrivers.Changed(tx) {
		drivers[key] = true
	}
	if len(drivers) == 0 {
		return pods
	}
	for pod, uses := range a.uses {
		if slices.ContainsFunc(uses, func(u use) bool { return drivers[object.Key{Name: u.driver}] }) {
			pods[pod] = true
		}
	}
	return pods
}

func podsOfClaim(tx *store.Tx, claim object.Key, pods set) {
	for row := range tables.Pods.By(tx, tables.PodsByClaim, claim.String()) {
		pods[row.Key()] = true
	}
}

func podsOfVolume(tx *store.Tx, volume object.Key, pods set) {
	v, ok := tables.PersistentVolumes.Get(tx, volume)
	if !ok || v.Spec.CSI == nil || v.Spec.ClaimRef == nil {
		return
	}
	podsOfClaim(tx, object.Key{Namespace: v.Spec.ClaimRef.Namespace, Name: v.Spec.ClaimRef.Name}, pods)
}

// usesOf returns the pod's uses of volumes that CSI drivers serve, none where it has
// no node or has ended.
func usesOf(tx *store.Tx, key object.Key) (uses []use) {
	row, ok := tables.Pods.Row(tx, key)
	if !ok || row.Head().Node == "" || row.Head().Ended() {
		return nil
	}
	for _, name := range row.Indexed(tables.PodsByClaim) {
		v := volumeOf(tx, object.ParseKey(name))
		if v == nil {
			continue
		}
		driver, _ := tables.CSIDrivers.Get(tx, object.Key{Name: v.Spec.CSI.Driver})
		uses = append(uses, use{
			attachment: object.Key{Name: claim.AttachmentName(v.Spec.CSI.VolumeHandle, v.Spec.CSI.Driver, row.Head().Node)},
			driver:     v.Spec.CSI.Driver, needs: claim.NeedsAttachment(driver),
		})
	}
	return uses
}

// volumeOf returns the volume of a CSI driver that the claim is bound to, nil if none.
func volumeOf(tx *store.Tx, key object.Key) *corev1.PersistentVolume {
	c, ok := tables.PersistentVolumeClaims.Get(tx, key)
	if !ok || c.Spec.VolumeName == "" {
		return nil
	}
	v, ok := tables.PersistentVolumes.Get(tx, object.Key{Name: c.Spec.VolumeName})
	if !ok || v.Spec.CSI == nil || !claim.BoundTo(c, v) {
		return nil
	}
	return v
}

// attach asks for the attachments of the pod that are not there. A volume for one
// node at a time waits until it is detached from the other.
func (a *Attacher) attach(tx *store.Tx, pod object.Key, u use) {
	if _, ok := tables.VolumeAttachments.Row(tx, u.attachment); ok {
		return
	}
	p, _ := tables.Pods.Get(tx, pod)
	for _, key := range claim.OfPod(p) {
		v := volumeOf(tx, key)
		if v == nil || claim.AttachmentName(v.Spec.CSI.VolumeHandle, v.Spec.CSI.Driver, p.Spec.NodeName) != u.attachment.Name {
			continue
		}
		if other := elsewhere(tx, v, p.Spec.NodeName); other != "" {
			tell.Once(tx, tables.Pods, p, tell.Event{
				From: "attachdetach-controller", Type: corev1.EventTypeWarning, Reason: "FailedAttachVolume",
				Message: "Multi-Attach error for volume \"" + v.Name + "\": Volume is already exclusively attached to node " + other + " and can't be attached to another",
			})
			return
		}
		name := v.Name
		tables.VolumeAttachments.Put(tx, &storagev1.VolumeAttachment{
			ObjectMeta: metav1.ObjectMeta{Name: u.attachment.Name},
			Spec: storagev1.VolumeAttachmentSpec{
				Attacher: v.Spec.CSI.Driver, NodeName: p.Spec.NodeName, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &name},
			},
		})
		return
	}
}

// elsewhere returns another node to which a volume for one node at a time is attached,
// empty where there is none.
func elsewhere(tx *store.Tx, v *corev1.PersistentVolume, node string) string {
	if slices.Contains(v.Spec.AccessModes, corev1.ReadWriteMany) || slices.Contains(v.Spec.AccessModes, corev1.ReadOnlyMany) {
		return ""
	}
	for row := range tables.VolumeAttachments.By(tx, tables.AttachmentsByVolume, v.Name) {
		if at := row.Object(); at.Spec.NodeName != node {
			return at.Spec.NodeName
		}
	}
	return ""
}

// release has a volume detached that nothing on its node uses: no pod is there for it,
// and the node says no more that it has it, or will never say anything again.
func (a *Attacher) release(tx *store.Tx, key object.Key) {
	delete(a.away, key)
	at, ok := tables.VolumeAttachments.Get(tx, key)
	if !ok || at.DeletionTimestamp != nil || !ours(at) {
		return
	}
	n, there := tables.Nodes.Get(tx, object.Key{Name: at.Spec.NodeName})
	held := there && !outOfService(n) && holds(tx, n, at)
	if len(a.users[key]) > 0 || held && object.NodeReady(n) {
		noteUnused(tx, at, "")
		return
	}
	if held && !a.lost(tx, at) {
		return
	}
	next := at.DeepCopy()
	if remove, _ := (object.Deletion{Now: tx.Now()}).Mark(next); remove {
		tables.VolumeAttachments.Delete(tx, key)
		return
	}
	tables.VolumeAttachments.Put(tx, next)
}

// forceAfter is how long a node that is not ready may keep a volume that no pod there
// uses (Kubernetes, "Non-graceful node shutdown handling").
const forceAfter = 6 * time.Minute

// unusedSince on a VolumeAttachment: from then on no pod has used the volume on its node,
// which is not ready. It is a note of ours, so that a new leader goes on counting.
const unusedSince = "trireme.dev/unused-since"

// lost reports whether the node of an attachment has been away for so long that the
// volume is taken from it.
func (a *Attacher) lost(tx *store.Tx, at *storagev1.VolumeAttachment) bool {
	since, err := time.Parse(time.RFC3339, at.Annotations[unusedSince])
	if err != nil {
		since = tx.Now().Truncate(time.Second)
		noteUnused(tx, at, since.UTC().Format(time.RFC3339))
	}
	if until := since.Add(forceAfter); tx.Now().Before(until) {
		a.away[object.KeyOf(at)] = until
		return false
	}
	tell.Once(tx, tables.VolumeAttachments, at, tell.Event{
		From: "attachdetach-controller", Type: corev1.EventTypeWarning, Reason: "ForceDetach",
		Message: "Volume " + *at.Spec.Source.PersistentVolumeName + " is taken from node " + at.Spec.NodeName + ", which has been away for " + forceAfter.String() + " and may still have it mounted",
	})
	return true
}

// noteUnused writes since when nothing uses the attachment; empty: it is used.
func noteUnused(tx *store.Tx, at *storagev1.VolumeAttachment, since string) {
	if at.Annotations[unusedSince] == since {
		return
	}
	next := at.DeepCopy()
	if note(next, unusedSince, since); since == "" {
		delete(next.Annotations, unusedSince)
	}
	tables.VolumeAttachments.Put(tx, next)
}

// nameBytes is the length of the names that claim.AttachmentName makes.
const nameBytes = len("csi-") + 64

// ours reports whether this loop made the attachment: others may make their own.
func ours(at *storagev1.VolumeAttachment) bool {
	return len(at.Name) == nameBytes && strings.HasPrefix(at.Name, "csi-") && at.Spec.Source.PersistentVolumeName != nil
}

// holds reports whether the node says that it has the volume.
func holds(tx *store.Tx, n *corev1.Node, at *storagev1.VolumeAttachment) bool {
	v, ok := tables.PersistentVolumes.Get(tx, object.Key{Name: *at.Spec.Source.PersistentVolumeName})
	return ok && v.Spec.CSI != nil && slices.Contains(n.Status.VolumesInUse, claim.UniqueName(v.Spec.CSI.Driver, v.Spec.CSI.VolumeHandle))
}

// outOfService reports whether a person says that the node is down for good
// (Kubernetes, "Non-graceful node shutdown handling").
func outOfService(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}
