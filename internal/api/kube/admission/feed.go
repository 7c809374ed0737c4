package admission

import (
	"context"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"

	"trireme/internal/api/kube/view"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// feed returns informers that read what admission looks at at every request
// straight from the tables, and whatever else is asked for through the client.
func feed(s *store.Store, client kubernetes.Interface) informers.SharedInformerFactory {
	f := informers.NewSharedInformerFactory(client, 0)
	for _, src := range []struct {
		table view.Table
		list  func() runtime.Object
	}{
		{tables.Namespaces.Any(), func() runtime.Object { return &corev1.NamespaceList{} }},
		{tables.MutatingWebhookConfigurations.Any(), func() runtime.Object { return &admissionv1.MutatingWebhookConfigurationList{} }},
		{tables.ValidatingWebhookConfigurations.Any(), func() runtime.Object { return &admissionv1.ValidatingWebhookConfigurationList{} }},
		{tables.ValidatingAdmissionPolicies.Any(), func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyList{} }},
		{tables.ValidatingAdmissionPolicyBindings.Any(), func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyBindingList{} }},
		{tables.MutatingAdmissionPolicies.Any(), func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyList{} }},
		{tables.MutatingAdmissionPolicyBindings.Any(), func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyBindingList{} }},
	} {
		rows := &rows{view: view.New(s, src.table, "/"+string(src.table.ID()), nil), key: "/" + string(src.table.ID()) + "/", list: src.list}
		f.InformerFor(src.table.New(), func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer {
			return cache.NewSharedIndexInformer(rows, src.table.New(), 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
		})
	}
	return f
}

// rows is a table as informers read it.
type rows struct {
	view *view.View
	key  string
	list func() runtime.Object
}

// IsWatchListSemanticsUnSupported tells informers to list and then watch.
func (r *rows) IsWatchListSemanticsUnSupported() bool { return true }

// List implements cache.Lister.
func (r *rows) List(o metav1.ListOptions) (runtime.Object, error) {
	return r.ListWithContext(context.Background(), o)
}

// ListWithContext implements cache.ListerWithContext.
func (r *rows) ListWithContext(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	l := r.list()
	return l, r.view.GetList(ctx, r.key, storage.ListOptions{Recursive: true, Predicate: storage.Everything}, l)
}

// Watch implements cache.Watcher.
func (r *rows) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return r.WatchWithContext(context.Background(), o)
}

// WatchWithContext implements cache.WatcherWithContext.
func (r *rows) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	pred := storage.Everything
	pred.AllowWatchBookmarks = o.AllowWatchBookmarks
	w, err := r.view.Watch(ctx, r.key, storage.ListOptions{Recursive: true, Predicate: pred, ResourceVersion: o.ResourceVersion})
	if err != nil {
		return nil, err
	}
	return watch.Filter(w, plain), nil
}

// plain takes an object out of what watchers share to encode it once: informers
// want the object itself.
func plain(e watch.Event) (watch.Event, bool) {
	if shared, ok := e.Object.(runtime.CacheableObject); ok {
		e.Object = shared.GetObject()
	}
	return e, true
}

// mapper looks kinds up in discovery, and asks again, once a second at most,
// where it does not find one: a custom resource may have come.
type mapper struct {
	*restmapper.DeferredDiscoveryRESTMapper

	mu   sync.Mutex
	last time.Time
}

func newMapper(d discovery.DiscoveryInterface) *mapper {
	return &mapper{DeferredDiscoveryRESTMapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))}
}

// stale drops what is known, if that was not done just now.
func (m *mapper) stale(err error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !meta.IsNoMatchError(err) || time.Since(m.last) < time.Second {
		return false
	}
	m.last = time.Now()
	m.Reset()
	return true
}

// RESTMapping implements meta.RESTMapper.
func (m *mapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	found, err := m.DeferredDiscoveryRESTMapper.RESTMapping(gk, versions...)
	if err != nil && m.stale(err) {
		return m.DeferredDiscoveryRESTMapper.RESTMapping(gk, versions...)
	}
	return found, err
}

// KindsFor implements meta.RESTMapper.
func (m *mapper) KindsFor(r schema.GroupVersionResource) ([]schema.GroupVersionKind, error) {
	found, err := m.DeferredDiscoveryRESTMapper.KindsFor(r)
	if err != nil && m.stale(err) {
		return m.DeferredDiscoveryRESTMapper.KindsFor(r)
	}
	return found, err
}
