package agent

import (
	"slices"
	"strings"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/image"
	"trireme/internal/object"
	"trireme/internal/runtime"
	"trireme/internal/wire"
)

// objects are what this node was told of, as it was told. Nothing in it is
// changed after it came.
type objects struct {
	mu     sync.RWMutex
	tables map[string]map[object.Key]metav1.Object
	uids   map[types.UID]bool // of the pods
}

func newObjects() *objects {
	return &objects{tables: map[string]map[object.Key]metav1.Object{}, uids: map[types.UID]bool{}}
}

// apply takes items over and returns what changed. With full, that is what went
// and all that is.
func (o *objects) apply(full bool, items []wire.Item) []change {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []change
	if full {
		out = o.missing(items)
	}
	for _, it := range items {
		old := o.tables[it.Table][it.Key]
		if it.Deleted {
			if old != nil {
				delete(o.tables[it.Table], it.Key)
				out = append(out, change{it.Table, old, true})
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
			out = append(out, change{it.Table, old, true})
		}
		o.tables[it.Table][it.Key] = obj
		out = append(out, change{it.Table, obj, false})
	}
	clear(o.uids)
	for _, p := range o.tables["pods"] {
		o.uids[p.GetUID()] = true
	}
	return out
}

// missing removes and returns what a full set does not have.
func (o *objects) missing(items []wire.Item) []change {
	type at struct {
		table string
		key   object.Key
	}
	have := make(map[at]bool, len(items))
	for _, it := range items {
		have[at{it.Table, it.Key}] = !it.Deleted
	}
	var out []change
	for table, rows := range o.tables {
		for key, obj := range rows {
			if !have[at{table, key}] {
				delete(rows, key)
				out = append(out, change{table, obj, true})
			}
		}
	}
	return out
}

// all returns everything as if it had just come.
func (o *objects) all() []change {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var out []change
	for table, rows := range o.tables {
		for _, obj := range rows {
			out = append(out, change{table, obj, false})
		}
	}
	return out
}

// pod reports whether a pod of the UID is assigned.
func (o *objects) pod(uid types.UID) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.uids[uid]
}

func get[T any](o *objects, table string, key object.Key) (T, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	obj, ok := o.tables[table][key].(T)
	return obj, ok
}

// Secret returns the secret, if this node was told of it.
func (o *objects) Secret(key object.Key) (*corev1.Secret, bool) {
	return get[*corev1.Secret](o, "secrets", key)
}

// ConfigMap returns the configMap, if this node was told of it.
func (o *objects) ConfigMap(key object.Key) (*corev1.ConfigMap, bool) {
	return get[*corev1.ConfigMap](o, "configmaps", key)
}

// Claim returns the volume claim, if this node was told of it.
func (o *objects) Claim(key object.Key) (*corev1.PersistentVolumeClaim, bool) {
	return get[*corev1.PersistentVolumeClaim](o, "persistentvolumeclaims", key)
}

// Volume returns the persistent volume, if this node was told of it.
func (o *objects) Volume(name string) (*corev1.PersistentVolume, bool) {
	return get[*corev1.PersistentVolume](o, "persistentvolumes", object.Key{Name: name})
}

// TrustBundles returns the cluster's trust bundles, sorted by name.
func (o *objects) TrustBundles() []*certificatesv1.ClusterTrustBundle {
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
func (o *objects) Services(namespace string) []*corev1.Service {
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

// credentials returns what the pod's pull secrets and its service account's hold
// for the image's registry.
func (a *Agent) credentials(pod *corev1.Pod, ref string) []runtime.Credentials {
	refs := slices.Clone(pod.Spec.ImagePullSecrets)
	sa, ok := get[*corev1.ServiceAccount](a.objects, "serviceaccounts", object.Key{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName})
	if ok {
		refs = append(refs, sa.ImagePullSecrets...)
	}
	var secrets []*corev1.Secret
	for _, r := range refs {
		if s, ok := a.objects.Secret(object.Key{Namespace: pod.Namespace, Name: r.Name}); ok {
			secrets = append(secrets, s)
		}
	}
	if len(secrets) == 0 {
		return nil
	}
	creds, err := image.Credentials(ref, secrets)
	if err != nil {
		a.cfg.Log.Warn("reading pull secrets", "pod", object.KeyOf(pod).String(), "err", err)
	}
	return creds
}

// accountUID returns the UID of a service account, empty where it is not here.
func (o *objects) accountUID(key object.Key) types.UID {
	sa, ok := get[*corev1.ServiceAccount](o, "serviceaccounts", key)
	if !ok {
		return ""
	}
	return sa.UID
}
