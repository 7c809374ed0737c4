package extend

import (
	"context"
	"os"
	"sync"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	aggregatorinformers "k8s.io/kube-aggregator/pkg/client/informers/externalversions/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/controllers/status/metrics"
	"k8s.io/kube-aggregator/pkg/controllers/status/remote"
)

// remotes says which of the servers behind Services are available. The library's
// controller keeps a copy of every Service and EndpointSlice for it, so that it
// starts with the first APIService that needs them.
type remotes struct {
	servers  *Servers
	services aggregatorinformers.APIServiceInformer
	client   aggregatorclient.APIServicesGetter

	once   sync.Once
	needed chan struct{}
}

func newRemotes(s *Servers, services aggregatorinformers.APIServiceInformer, client aggregatorclient.APIServicesGetter) *remotes {
	services.Informer() // the factory starts what was asked for
	return &remotes{servers: s, services: services, client: client, needed: make(chan struct{})}
}

// run returns when ctx ends.
func (r *remotes) run(ctx context.Context) {
	look := func(o any) {
		if svc, ok := o.(*apiregistrationv1.APIService); ok && svc.Spec.Service != nil {
			r.once.Do(func() { close(r.needed) })
		}
	}
	h, err := r.services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: look, UpdateFunc: func(_, is any) { look(is) },
	})
	if err != nil {
		return // the informer has ended: so has the server
	}
	select {
	case <-r.needed:
	case <-ctx.Done():
		return
	}
	if err := r.services.Informer().RemoveEventHandler(h); err != nil {
		r.servers.log("watching APIServices", err)
	}
	client, err := kubernetes.NewForConfig(r.servers.cfg.Generic.LoopbackClientConfig)
	if err != nil {
		r.servers.log("starting to check aggregated servers", err)
		return
	}
	f := informers.NewSharedInformerFactory(client, 0)
	c, err := remote.New(r.services, f.Core().V1().Services(), f.Discovery().V1().EndpointSlices(), r.client,
		nil, r.certificate, resolver{r.servers.cfg.Store}, metrics.New())
	if err != nil {
		r.servers.log("starting to check aggregated servers", err)
		return
	}
	f.Start(ctx.Done())
	c.Run(2, ctx.Done())
	f.Shutdown()
}

// certificate returns what the aggregator shows, as it is on the disk.
func (r *remotes) certificate() (cert, key []byte) {
	if r.servers.cfg.ProxyCert == "" {
		return nil, nil
	}
	cert, err := os.ReadFile(r.servers.cfg.ProxyCert)
	if err == nil {
		key, err = os.ReadFile(r.servers.cfg.ProxyKey)
	}
	if err != nil {
		r.servers.log("reading the aggregator's certificate", err)
		return nil, nil
	}
	return cert, key
}
