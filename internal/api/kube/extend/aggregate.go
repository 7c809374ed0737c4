package extend

import (
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/informers"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	aggregatorserver "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	listers "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"
	definitions "k8s.io/kube-aggregator/pkg/generated/openapi"

	"trireme/internal/api/kube/view"
	"trireme/internal/tables"
)

// Aggregate builds the aggregator around the door's own server, which serves
// groups, given in the order in which clients shall prefer them.
func (s *Servers) Aggregate(own *genericapiserver.GenericAPIServer, groups []schema.GroupVersion) error {
	c := s.copied()
	openAPI(&c, definitions.GetOpenAPIDefinitions, aggregatorscheme.Scheme)
	c.SkipOpenAPIInstallation = true // it merges those of all servers
	c.MergedResourceConfig = aggregatorserver.DefaultAPIResourceConfigSource()
	c.RESTOptionsGetter = options{
		servers: s, table: tables.APIServices.Any(), codec: aggregatorscheme.Codecs.LegacyCodec(apiregistrationv1.SchemeGroupVersion),
		form: view.Converted(aggregatorscheme.Scheme, apiregistrationv1.SchemeGroupVersion,
			func() runtime.Object { return &apiregistration.APIService{} }),
	}
	config := aggregatorserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{
			Config: c, SharedInformerFactory: informers.NewSharedInformerFactory(nil, 0), // nothing is asked of it
		},
		ExtraConfig: aggregatorserver.ExtraConfig{
			ProxyClientCertFile: s.cfg.ProxyCert, ProxyClientKeyFile: s.cfg.ProxyKey,
			ServiceResolver: resolver{s.cfg.Store}, RejectForwardingRedirects: true,
			DisableRemoteAvailableConditionController: true, // see remotes
		},
	}
	var err error
	if s.aggregate, err = config.Complete().NewWithDelegate(own); err != nil {
		return fmt.Errorf("building the aggregator: %w", err)
	}
	return s.register(c, groups)
}

// register keeps an APIService for every group version that is served here:
// the door's own, and those of definitions.
func (s *Servers) register(c genericapiserver.Config, groups []schema.GroupVersion) error {
	client, err := aggregatorclient.NewForConfig(c.LoopbackClientConfig)
	if err != nil {
		return err
	}
	services := s.aggregate.APIRegistrationInformers.Apiregistration().V1().APIServices()
	auto := autoregister.NewAutoRegisterController(services, client)
	var names []string
	for i, gv := range append(groups, schema.GroupVersion{Group: "apiextensions.k8s.io", Version: "v1"}) {
		svc := localService(gv, ownPriority-int32(i)*100, ownVersions-int32(i))
		auto.AddAPIServiceToSyncOnStart(svc)
		names = append(names, svc.Name)
		c.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion(gv), int(svc.Spec.GroupPriorityMinimum), int(svc.Spec.VersionPriority))
	}
	crds := newRegistrar(s.custom.Informers.Apiextensions().V1().CustomResourceDefinitions(), auto)
	s.remote = newRemotes(s, services, client)
	top := s.aggregate.GenericAPIServer
	top.AddPostStartHookOrDie("autoregistration", func(ctx genericapiserver.PostStartHookContext) error {
		go func() {
			// First the definitions, so that what is there of them is not taken for a leftover.
			if crds.start(ctx) {
				auto.Run(2, ctx.Done())
			}
		}()
		return nil
	})
	top.AddPostStartHookOrDie("remote-availability", func(ctx genericapiserver.PostStartHookContext) error {
		go s.remote.run(ctx)
		return nil
	})
	return top.AddReadyzChecks(registered(services.Lister(), names))
}

// Priorities of what is served here; kube-apiserver uses 18000 and below too,
// and 1000 and 100 for definitions.
const (
	ownPriority        = 18000
	ownVersions        = 1000
	definitionPriority = 1000
	definitionVersions = 100
)

func localService(gv schema.GroupVersion, group, version int32) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group},
		Spec:       apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: group, VersionPriority: version},
	}
}

// registered is ready when every named APIService is there and available: from
// then on discovery is complete.
func registered(services listers.APIServiceLister, names []string) healthz.HealthChecker {
	return healthz.NamedCheck("autoregister-completion", func(*http.Request) error {
		for _, name := range names {
			svc, err := services.Get(name)
			if err != nil {
				return fmt.Errorf("missing APIService %s: %w", name, err)
			}
			if !helper.IsAPIServiceConditionTrue(svc, apiregistrationv1.Available) {
				return fmt.Errorf("APIService %s is not available", name)
			}
		}
		return nil
	})
}
