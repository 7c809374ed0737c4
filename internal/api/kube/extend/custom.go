package extend

import (
	"net/http"

	noop "go.opentelemetry.io/otel/trace/noop"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	definitions "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/kube-openapi/pkg/common"

	"trireme/internal/api/kube/view"
	"trireme/internal/tables"
)

func (s *Servers) newCustom() (*apiextensionsserver.CustomResourceDefinitions, error) {
	c := s.copied()
	openAPI(&c, definitions.GetOpenAPIDefinitions, apiextensionsserver.Scheme)
	c.SkipOpenAPIInstallation = false // its controllers change what is described
	c.MergedResourceConfig = apiextensionsserver.DefaultAPIResourceConfigSource()
	c.RESTOptionsGetter = options{
		servers: s, table: tables.CustomResourceDefinitions.Any(),
		codec: apiextensionsserver.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion),
		form: view.Converted(apiextensionsserver.Scheme, apiextensionsv1.SchemeGroupVersion,
			func() runtime.Object { return &apiextensions.CustomResourceDefinition{} }),
	}
	config := apiextensionsserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: c},
		ExtraConfig: apiextensionsserver.ExtraConfig{
			CRDRESTOptionsGetter: customOptions{s},
			MasterCount:          1,
			ServiceResolver:      resolver{s.cfg.Store},
			AuthResolverWrapper:  webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, c.LoopbackClientConfig, noop.NewTracerProvider()),
		},
	}
	nowhere := genericapiserver.NewEmptyDelegateWithCustomHandler(http.HandlerFunc(s.notFound))
	return config.Complete().New(nowhere)
}

// notFound answers what nobody serves: 404, or 503 while it may only not be
// served yet.
func (s *Servers) notFound(w http.ResponseWriter, req *http.Request) {
	if s.aggregate != nil {
		for name, started := range s.aggregate.GenericAPIServer.MuxAndDiscoveryCompleteSignals() {
			select {
			case <-started:
			default:
				err := apierrors.NewServiceUnavailable("the server is starting: what it serves is not complete yet (" + name + ")")
				err.ErrStatus.Details = nil
				w.Header().Set("Retry-After", "1")
				gv := schema.GroupVersion{Version: "v1"}
				responsewriters.ErrorNegotiated(err, s.cfg.Generic.Serializer, gv, w, req)
				return
			}
		}
	}
	http.NotFound(w, req)
}

// openAPI gives a server its own types to describe; those of the others are
// merged by the aggregator.
func openAPI(c *genericapiserver.Config, defs common.GetOpenAPIDefinitions, s *runtime.Scheme) {
	namer := apiopenapi.NewDefinitionNamer(s)
	title := c.OpenAPIConfig.Info.Title
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(defs, namer)
	c.OpenAPIConfig.Info.Title = title
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(defs, namer)
	c.OpenAPIV3Config.Info.Title = title
}
