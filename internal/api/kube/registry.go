package kube

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"trireme/internal/api/kube/auth"
	"trireme/internal/api/kube/view"
	"trireme/internal/store"
)

// restOptions answers the library's question where a resource is kept: in the
// table of that name.
type restOptions struct {
	server    *Server
	table     view.Table
	encodings map[string]view.Encoding
}

// GetRESTOptions implements generic.RESTOptionsGetter. The storage config is new
// at each call, because the library writes to it.
func (r restOptions) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	config := &storagebackend.ConfigForResource{GroupResource: gr}
	config.Codec = r.server.codecs.LegacyCodec(r.table.GVK().GroupVersion())
	return generic.RESTOptions{
		StorageConfig:           config,
		Decorator:               r.decorate,
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 1,
		ResourcePrefix:          string(r.table.ID()),
	}, nil
}

func (r restOptions) decorate(config *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error), _, _ func() runtime.Object,
	_ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	gr := config.GroupResource
	before := func(tx *store.Tx, o, old store.Object) error { return r.server.beforePut(tx, gr, o, old) }
	return view.New(r.server.store, r.table, prefix, before).Encoding(r.encodings), func() {}, nil
}

// registryStore is the library's generic REST storage with our short names.
type registryStore struct {
	*genericregistry.Store
	res resource
}

// ShortNames implements rest.ShortNamesProvider.
func (s *registryStore) ShortNames() []string { return s.res.short }

// Categories implements rest.CategoriesProvider.
func (s *registryStore) Categories() []string {
	if s.res.all {
		return []string{"all"}
	}
	return nil
}

// Create implements rest.Creater.
func (s *registryStore) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	out, err := s.Store.Create(ctx, o, validate, opts)
	if errors.Is(err, storage.ErrResourceVersionSetOnCreate) {
		err = apierrors.NewBadRequest("metadata.resourceVersion: " + err.Error()) // kube-apiserver answers 500
	}
	return out, err
}

// Update implements rest.Updater.
func (s *registryStore) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, opts *metav1.UpdateOptions) (runtime.Object, bool, error) {
	o, created, err := s.Store.Update(ctx, name, info, create, update, force, opts)
	return o, created, applyError(err)
}

// statusStore serves a kind's status subresource.
type statusStore struct{ store *genericregistry.Store }

// New implements rest.Storage.
func (s *statusStore) New() runtime.Object { return s.store.New() }

// Destroy implements rest.Storage.
func (s *statusStore) Destroy() {}

// Get implements rest.Patcher.
func (s *statusStore) Get(ctx context.Context, name string, opts *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, opts)
}

// Update implements rest.Updater; a status is never created on its own.
func (s *statusStore) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, opts *metav1.UpdateOptions) (runtime.Object, bool, error) {
	o, created, err := s.store.Update(ctx, name, info, create, update, false, opts)
	return o, created, applyError(err)
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (s *statusStore) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.store.GetResetFields()
}

// ConvertToTable implements rest.TableConvertor.
func (s *statusStore) ConvertToTable(ctx context.Context, o, opts runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, o, opts)
}

// storages returns the REST storage of a resource and of its subresources, by
// path.
func (s *Server) storages(r resource) (map[string]rest.Storage, error) {
	gr := schema.GroupResource{Group: r.gv.Group, Resource: r.plural}
	base := newStrategy(s.scheme, r)
	st := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return r.table.New() },
		NewListFunc:               r.list,
		DefaultQualifiedResource:  gr,
		SingularQualifiedResource: schema.GroupResource{Group: r.gv.Group, Resource: r.singular},
		CreateStrategy:            base,
		UpdateStrategy:            base,
		DeleteStrategy:            base,
		ResetFieldsStrategy:       base,
		TableConvertor:            printer{r.table.ID()},
	}
	if r.plural == "pods" {
		st.DeleteStrategy = podStrategy{base}
	}
	if err := st.CompleteWithOptions(&generic.StoreOptions{RESTOptions: restOptions{s, r.table, encodings(s.codecs, r.gv, r.table.GVK())}, AttrFunc: attrs}); err != nil {
		return nil, fmt.Errorf("serving %s: %w", r.plural, err)
	}
	out := map[string]rest.Storage{r.plural: &registryStore{st, r}}
	if r.gv.Group == rbacv1.GroupName {
		out[r.plural] = &roleStore{&registryStore{st, r}, s}
	}
	if r.status {
		c := *st
		c.UpdateStrategy, c.ResetFieldsStrategy = statusStrategy{base}, statusStrategy{base}
		out[r.plural+"/status"] = &statusStore{&c}
	}
	s.subresources(r, st, out)
	return out, nil
}

// subresources adds what a kind has beside its status.
func (s *Server) subresources(r resource, st *genericregistry.Store, out map[string]rest.Storage) {
	switch r.plural {
	case "namespaces":
		out["namespaces"] = &namespaceStore{&registryStore{st, r}}
		out["namespaces/finalize"] = &finalizeStore{statusStore{finalizing(st, newStrategy(s.scheme, r))}}
	case "certificatesigningrequests":
		s.signing(r, st, out)
	case "serviceaccounts":
		if s.cfg.Accounts != nil {
			out["serviceaccounts/token"] = auth.TokenRequests(s.cfg.Accounts, s.store)
		}
	case "nodes":
		out["nodes/proxy"] = &proxied{s, "nodes"}
	case "pods":
		c := *st
		c.UpdateStrategy = ephemeralStrategy{newStrategy(s.scheme, r)}
		out["pods/ephemeralcontainers"] = &statusStore{&c}
		sized := *st
		sized.UpdateStrategy = resizeStrategy{newStrategy(s.scheme, r)}
		out["pods/resize"] = &statusStore{&sized}
		out["pods/binding"] = &bindingStore{st}
		out["pods/eviction"] = &evictionStore{s.store}
		out["pods/proxy"] = &proxied{s, "pods"}
		out["pods/log"] = &podStream{s, "containerLogs", []string{"GET"}}
		out["pods/exec"] = &podStream{s, "exec", []string{"GET", "POST"}}
		out["pods/attach"] = &podStream{s, "attach", []string{"GET", "POST"}}
		out["pods/portforward"] = &podStream{s, "portForward", []string{"GET", "POST"}}
	case "services":
		out["services/proxy"] = &proxied{s, "services"}
	case "deployments", "replicasets", "statefulsets", "replicationcontrollers":
		out[r.plural+"/scale"] = &scaleStore{st}
	}
}
