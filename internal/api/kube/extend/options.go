package extend

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"trireme/internal/api/kube/view"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// options answers the library's question where a resource is kept: in a table
// of its own.
type options struct {
	servers *Servers
	table   view.Table
	codec   runtime.Codec
	form    view.Form
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (o options) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	return restOptions(gr, o.codec, o.decorate), nil
}

func (o options) decorate(config *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error), _, _ func() runtime.Object,
	_ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	return o.servers.view(o.table, config.GroupResource, prefix).In(o.form), func() {}, nil
}

// customOptions answers it for a custom resource: among tables.CustomObjects.
// The library wraps the codec so that it prunes, defaults and converts.
type customOptions struct{ servers *Servers }

// GetRESTOptions implements generic.RESTOptionsGetter.
func (o customOptions) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	return restOptions(gr, unstructured.UnstructuredJSONScheme, o.decorate), nil
}

func (o customOptions) decorate(config *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error), empty, _ func() runtime.Object,
	_ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	gr := config.GroupResource
	form := view.Encoded(config.Codec, gr.Group+"/"+gr.Resource+"/", empty)
	return o.servers.view(tables.CustomObjects.Any(), gr, prefix).In(form), func() {}, nil
}

// restOptions returns a new value at each call, because the library writes to
// its storage config.
func restOptions(gr schema.GroupResource, codec runtime.Codec, decorate generic.StorageDecorator) generic.RESTOptions {
	config := &storagebackend.ConfigForResource{GroupResource: gr}
	config.Codec = codec
	return generic.RESTOptions{
		StorageConfig: config, Decorator: decorate, EnableGarbageCollection: true, DeleteCollectionWorkers: 1,
		ResourcePrefix: gr.Group + "/" + gr.Resource,
	}
}

func (s *Servers) view(t view.Table, gr schema.GroupResource, prefix string) *view.View {
	return view.New(s.cfg.Store, t, prefix, func(tx *store.Tx, o, old store.Object) error {
		return s.cfg.BeforePut(tx, gr, o, old)
	})
}
