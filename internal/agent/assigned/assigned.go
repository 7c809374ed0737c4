// Package assigned is what a node was told of: its pods and all that they refer to,
// in memory and in the file that an agent without a manager starts from.
//
// It decides nothing. Objects may be used concurrently, and nothing in it is changed
// after it came. The file holds secrets: 0600. What changes is appended to it, and it
// is replaced by one rename where it has grown long.
package assigned

import (
	"slices"
	"strings"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/object/swarm"
	"trireme/internal/wire"
)

// Change is one object that came, changed or went. Where it went, Object is what
// it was.
type Change struct {
	Table   string
	Object  metav1.Object
	Deleted bool
}

// Objects are what this node was told of, as it was told. Nothing in it is
// changed after it came.
type Objects struct {
	mu     sync.RWMutex
	tables map[string]map[object.Key]metav1.Object
	uids   map[types.UID]bool // of the pods
	file   file
}

// Tables returns the tables that a node wants whole, beside its pods and what these
// refer to. ingress: it answers for ingresses.
func Tables(ingress bool) []string {
	all := []string{"services", "endpointslices", "nodes", "clustertrustbundles", "runtimeclasses", "csidrivers"}
	if ingress {
		all = append(all, route.TableName)
	}
	return all
}

// New returns nothing.
func New() *Objects {
	return &Objects{tables: map[string]map[object.Key]metav1.Object{}, uids: map[types.UID]bool{}}
}

// Apply takes items over and returns what changed. With full, that is what went
// and all that is.
func (o *Objects) Apply(full bool, items []wire.Item) []Change {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []Change
	if full {
		out = o.missing(items)
	}
	for _, it := range items {
		old := o.tables[it.Table][it.Key]
		if it.Deleted {
			if old != nil {
				delete(o.tables[it.Table], it.Key)
				out = append(out, Change{it.Table, old, true})
			}
			continue
		}
		obj, ok := it.Object.(metav1.Object)
		if !ok {
			continue
		}
		if o.tables[it.Table] == nil {
			o.tables[it.Table] = map[object.Key]metav1.Object{}
		}
		if old != nil && old.GetUID() != obj.GetUID() { // another of the same name
			out = append(out, Change{it.Table, old, true})
		}
		o.tables[it.Table][it.Key] = obj
		out = append(out, Change{it.Table, obj, false})
	}
	clear(o.uids)
	for _, p := range o.tables["pods"] {
		o.uids[p.GetUID()] = true
	}
	for _, c := range out {
		o.file.lack(id{c.Table, object.KeyOf(c.Object)})
	}
	return out
}

// missing removes and returns what a full set does not have.
func (o *Objects) missing(items []wire.Item) []Change {
	have := make(map[id]bool, len(items))
	for _, it := range items {
		have[id{it.Table, it.Key}] = !it.Deleted
	}
	var out []Change
	for table, rows := range o.tables {
		for key, obj := range rows {
			if !have[id{table, key}] {
				delete(rows, key)
				out = append(out, Change{table, obj, true})
			}
		}
	}
	return out
}

// All returns everything as if it had just come.
func (o *Objects) All() []Change {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var out []Change
	for table, rows := range o.tables {
		for _, obj := range rows {
			out = append(out, Change{table, obj, false})
		}
	}
	return out
}

// Pod reports whether a pod of the UID is assigned.
func (o *Objects) Pod(uid types.UID) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.uids[uid]
}

// Get returns an object of a table, if this node was told of it.
func Get[T any](o *Objects, table string, key object.Key) (T, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	obj, ok := o.tables[table][key].(T)
	return obj, ok
}

// All returns the objects of a table, sorted by key.
func All[T metav1.Object](o *Objects, table string) (out []T) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, key := range object.SortedKeys(o.tables[table]) {
		if obj, ok := o.tables[table][key].(T); ok {
			out = append(out, obj)
		}
	}
	return out
}

// Secret returns the secret, if this node was told of it.
func (o *Objects) Secret(key object.Key) (*corev1.Secret, bool) {
	return Get[*corev1.Secret](o, "secrets", key)
}

// ConfigMap returns the configMap, if this node was told of it.
func (o *Objects) ConfigMap(key object.Key) (*corev1.ConfigMap, bool) {
	return Get[*corev1.ConfigMap](o, "configmaps", key)
}

// Claim returns the volume claim, if this node was told of it.
func (o *Objects) Claim(key object.Key) (*corev1.PersistentVolumeClaim, bool) {
	return Get[*corev1.PersistentVolumeClaim](o, "persistentvolumeclaims", key)
}

// Volume returns the persistent volume, if this node was told of it.
func (o *Objects) Volume(name string) (*corev1.PersistentVolume, bool) {
	return Get[*corev1.PersistentVolume](o, "persistentvolumes", object.Key{Name: name})
}

// Named returns the persistent volume that holds the data of a volume with a name, the
// newest: others are of volumes of that name before.
func (o *Objects) Named(key object.Key) (found *corev1.PersistentVolume, ok bool) {
	for _, v := range All[*corev1.PersistentVolume](o, "persistentvolumes") {
		if v.Annotations[swarm.VolumeAnnotation] != key.String() || v.DeletionTimestamp != nil || v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			continue
		}
		if found == nil || found.CreationTimestamp.Before(&v.CreationTimestamp) {
			found = v
		}
	}
	return found, found != nil
}

// Driver returns the object that describes a CSI driver, if the cluster has one.
func (o *Objects) Driver(name string) (*storagev1.CSIDriver, bool) {
	return Get[*storagev1.CSIDriver](o, "csidrivers", object.Key{Name: name})
}

// Attachment returns the attachment of a volume to this node.
func (o *Objects) Attachment(name string) (*storagev1.VolumeAttachment, bool) {
	return Get[*storagev1.VolumeAttachment](o, "volumeattachments", object.Key{Name: name})
}

// TrustBundles returns the cluster's trust bundles, sorted by name.
func (o *Objects) TrustBundles() []*certificatesv1.ClusterTrustBundle {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var out []*certificatesv1.ClusterTrustBundle
	for _, obj := range o.tables["clustertrustbundles"] {
		if b, ok := obj.(*certificatesv1.ClusterTrustBundle); ok {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b *certificatesv1.ClusterTrustBundle) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Services returns the namespace's services, sorted by name.
func (o *Objects) Services(namespace string) []*corev1.Service {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var out []*corev1.Service
	for key, obj := range o.tables["services"] {
		if s, ok := obj.(*corev1.Service); ok && key.Namespace == namespace {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Service) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// AccountUID returns the UID of a service account, empty where it is not here.
func (o *Objects) AccountUID(key object.Key) types.UID {
	sa, ok := Get[*corev1.ServiceAccount](o, "serviceaccounts", key)
	if !ok {
		return ""
	}
	return sa.UID
}
