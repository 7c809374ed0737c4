package extend

import (
	"context"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"
)

// registrar asks for an APIService for each group version that definitions
// serve, and takes it back with the last of them.
type registrar struct {
	informer crdinformers.CustomResourceDefinitionInformer
	auto     autoregister.AutoAPIServiceRegistration

	mu sync.Mutex // one event at a time, so that the last word is the newest
}

func newRegistrar(informer crdinformers.CustomResourceDefinitionInformer, auto autoregister.AutoAPIServiceRegistration) *registrar {
	informer.Informer() // the factory starts what was asked for
	return &registrar{informer: informer, auto: auto}
}

// start returns when all definitions that there are were told on, false where
// ctx ended before; it goes on with those to come.
func (r *registrar) start(ctx context.Context) bool {
	h, err := r.informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: r.tell,
		UpdateFunc: func(was, is any) {
			r.tell(was)
			r.tell(is)
		},
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			r.tell(o)
		},
	})
	return err == nil && cache.WaitForCacheSync(ctx.Done(), h.HasSynced)
}

// tell looks at each group version of a definition that changed.
func (r *registrar) tell(o any) {
	crd, ok := o.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range crd.Spec.Versions {
		gv := schema.GroupVersion{Group: crd.Spec.Group, Version: crd.Spec.Versions[i].Name}
		svc := localService(gv, definitionPriority, definitionVersions)
		if r.served(gv) {
			r.auto.AddAPIServiceToSync(svc)
		} else {
			r.auto.RemoveAPIServiceToSync(svc.Name)
		}
	}
}

// served reports whether any definition serves the group version.
func (r *registrar) served(gv schema.GroupVersion) bool {
	all, err := r.informer.Lister().List(labels.Everything())
	if err != nil {
		return false // a lister reads memory: it has no errors
	}
	for _, crd := range all {
		for i := range crd.Spec.Versions {
			if v := &crd.Spec.Versions[i]; crd.Spec.Group == gv.Group && v.Name == gv.Version && v.Served {
				return true
			}
		}
	}
	return false
}
