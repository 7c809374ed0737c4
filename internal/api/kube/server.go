package kube

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/access"
	"trireme/internal/account"
	"trireme/internal/admit"
	"trireme/internal/api/kube/admission"
	"trireme/internal/api/kube/auditlog"
	"trireme/internal/api/kube/auth"
	"trireme/internal/api/kube/extend"
	"trireme/internal/api/kube/fairness"
	"trireme/internal/api/kube/fast"
	"trireme/internal/api/kube/identity"
	"trireme/internal/api/kube/openapi"
	"trireme/internal/api/kube/plans"
	"trireme/internal/api/kube/status"
	"trireme/internal/api/kube/usage"
	"trireme/internal/kind"
	"trireme/internal/object/plan"
	"trireme/internal/store"
	"trireme/internal/whatif"
)

// DefaultSeats is the sum of kube-apiserver's --max-requests-inflight and
// --max-mutating-requests-inflight.
const DefaultSeats = 600

// Config configures the door. Everything but Accounts, Identity, Audit, ProxyCert,
// ProxyKey, Seats, Plan and Log is required.
type Config struct {
	Listener net.Listener
	// TLS is the serving side; it asks clients for a certificate. One that it
	// verifies itself is believed; one that it does not is verified by ClientCA.
	TLS      *tls.Config
	ClientCA *x509.CertPool
	// NodeTLS is what the door shows to agents.
	NodeTLS *tls.Config
	// Accounts signs the tokens of service accounts; nil: none are given or taken.
	Accounts *account.Issuer
	// Identity takes the word of others about who asks; nil: nobody's is taken. Who
	// opened it runs it.
	Identity *identity.Sources
	// Allocate gives a service its addresses inside the transaction that writes
	// it, so that the answer shows them. old is nil at creation.
	Allocate func(tx *store.Tx, o, old store.Object) error
	// ProxyCert and ProxyKey are the files of what the door shows to aggregated
	// API servers; empty: nothing.
	ProxyCert, ProxyKey string
	// Seats is how many requests the door works on at a time, beside those of exempt
	// priority levels; 0: DefaultSeats.
	Seats int
	// Plan says what would happen; nil: plans are not answered.
	Plan func(context.Context, whatif.Question) (*plan.Status, error)
	// Grows says that kinds are about to be defined: what nobody serves is answered 503 until
	// Complete is called, where it would be 404.
	Grows bool
	// Audit writes requests down; nil: nobody does. Who opened it runs it.
	Audit *auditlog.Log
	Log   *slog.Logger
}

// Server is the Kubernetes door over one store.
type Server struct {
	cfg    Config
	store  *store.Store
	scheme *runtime.Scheme
	codecs serializer.CodecFactory
	api    *genericapiserver.GenericAPIServer
	nodes  http.RoundTripper // to the agents, in HTTP/1.1, which can be upgraded
	logs   http.RoundTripper // to the agents, many at a time over one connection
	pods   http.RoundTripper // to whatever runs in pods
	auth   *auth.Authorizer
	reads  *fast.Reader
	writes *fast.Writer
	docs   *openapi.Documents
	fair   *fairness.Fairness
	loop   loopback
	who    *auth.Authenticator
	admit  *admission.Chain
	ext    *extend.Servers

	whole    chan struct{} // closed by Complete
	complete sync.Once
}

// New builds the door. It serves nothing until Run.
func New(s *store.Store, cfg Config) (*Server, error) {
	if cfg.Listener == nil || cfg.TLS == nil || cfg.ClientCA == nil || cfg.NodeTLS == nil || cfg.Allocate == nil {
		return nil, kind.New(kind.Invalid, "kube: Config is incomplete")
	}
	logLibrary(cfg.Log)
	served, plain, err := schemes()
	if err != nil {
		return nil, err
	}
	srv := &Server{cfg: cfg, store: s, scheme: served, codecs: codecs(served), pods: podTransport(), auth: auth.NewAuthorizer(access.NewChecker(s)), reads: fast.New(s), whole: make(chan struct{})}
	srv.authenticate()
	srv.nodes, srv.logs = nodeTransports(cfg.NodeTLS)
	if srv.admit, err = admission.New(admission.Config{Store: s, Scheme: plain, Client: srv.loop.config(), Authorizer: srv.auth}); err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(srv.loop.config())
	if err != nil {
		return nil, err
	}
	srv.fair = fairness.New(s, client, cmp.Or(cfg.Seats, DefaultSeats))
	c := srv.config(plain)
	srv.writes = fast.NewWriter(fast.WriterConfig{
		Store: s, Scheme: served, Admit: srv.admit, BytesMax: c.MaxRequestBodyBytes,
		Types: func(sample runtime.Object) (managedfields.TypeConverter, error) { return srv.docs.Types(sample) },
	})
	if srv.ext, err = extend.New(extend.Config{
		Store: s, Generic: c, BeforePut: srv.beforePut, ProxyCert: cfg.ProxyCert, ProxyKey: cfg.ProxyKey, Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	srv.api, err = c.Complete(nil).New("trireme", srv.ext.Delegate())
	if err != nil {
		return nil, fmt.Errorf("building the API server: %w", err)
	}
	if a := cfg.Accounts; a != nil {
		if err := auth.Discovery(srv.api.Handler.NonGoRestfulMux, a, a.Audiences()[0]); err != nil {
			return nil, err
		}
	}
	groups, err := srv.install()
	if err != nil {
		return nil, err
	}
	srv.docs = openapi.New(srv.api.Handler.GoRestfulContainer, c.OpenAPIConfig, c.OpenAPIV3Config)
	srv.docs.Install(srv.api.Handler.NonGoRestfulMux)
	if err := srv.ext.Aggregate(srv.api, groups); err != nil {
		return nil, err
	}
	if err := srv.ext.Front().AddPostStartHook("priority-and-fairness-informers", func(ctx genericapiserver.PostStartHookContext) error {
		srv.fair.Informers.Start(ctx.Done())
		return nil
	}); err != nil {
		return nil, err
	}
	if err := srv.ext.Front().AddReadyzChecks(healthz.NamedCheck("store", srv.alive)); err != nil {
		return nil, fmt.Errorf("adding the store's check: %w", err)
	}
	if err := srv.serveCustomMetrics(c.AggregatedDiscoveryGroupManager); err != nil {
		return nil, err
	}
	if cfg.Plan != nil {
		srv.servePlans()
	}
	if err := srv.grow(); err != nil {
		return nil, err
	}
	srv.loop.serve(srv.ext.Front().Handler)
	return srv, nil
}

// grow has what nobody serves answered 503 until Complete, where the door grows.
func (s *Server) grow() error {
	if !s.cfg.Grows {
		s.Complete()
	}
	return s.ext.Front().RegisterMuxAndDiscoveryCompleteSignal("own kinds", s.whole)
}

// Complete says that all kinds of the cluster's own are served (Config.Grows). Whoever runs a server that
// grows calls it at its end at the latest.
func (s *Server) Complete() { s.complete.Do(func() { close(s.whole) }) }

// authenticate builds what finds out who asks.
func (s *Server) authenticate() {
	c := auth.AuthenticatorConfig{
		ClientCA: s.cfg.ClientCA, Store: s.store, Accounts: s.cfg.Accounts, Requests: []authenticator.Request{authenticator.RequestFunc(byLoopback)},
	}
	if others := s.cfg.Identity; others != nil {
		c.Requests = append(c.Requests, others.Front)
		c.Tokens, c.Anonymous, c.ProxyCAs = others.Tokens, others.Anonymous(), others.ProxyCAs()
		s.cfg.TLS = s.cfg.TLS.Clone()
		s.cfg.TLS.ClientCAs = s.cfg.TLS.ClientCAs.Clone()
		for _, ca := range c.ProxyCAs {
			s.cfg.TLS.ClientCAs.AddCert(ca)
		}
	}
	s.who = auth.NewAuthenticator(c)
}

// alive says whether the store still takes writes: one that lost its lease or
// its log does not.
func (s *Server) alive(*http.Request) error {
	select {
	case <-s.store.Dead():
		return errors.New("the store is closed")
	default:
		return nil
	}
}

func (s *Server) config(plain *runtime.Scheme) *genericapiserver.Config {
	c := genericapiserver.NewConfig(s.codecs)
	c.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	c.ExternalAddress = s.cfg.Listener.Addr().String()
	c.LoopbackClientConfig = s.loop.config()
	c.EnableProfiling = true // /debug/pprof, for those whom RBAC lets in
	c.Authentication.Authenticator = s.who
	c.Authentication.APIAudiences = s.who.Audiences()
	if s.cfg.Identity != nil {
		c.Authentication.RequestHeaderConfig = s.cfg.Identity.Front.HeaderConfig()
	}
	c.Authorization.Authorizer = s.auth
	c.RuleResolver = s.auth
	c.BuildHandlerChainFunc = s.chain
	namer := apiopenapi.NewDefinitionNamer(plain)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	c.OpenAPIConfig.Info.Title = "Trireme"
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	c.OpenAPIV3Config.Info.Title = "Trireme"
	c.SkipOpenAPIInstallation = true // openapi.Documents does it
	c.LongRunningFunc = longRunning
	c.FlowControl = s.fair.Control
	c.AdmissionControl = s.admit
	if s.cfg.Audit != nil {
		c.AuditBackend, c.AuditPolicyRuleEvaluator = s.cfg.Audit.Sink, s.cfg.Audit.Rules
	}
	return c
}

// install serves every resource, group by group, and returns the versions of the
// groups in the order in which clients shall prefer them.
func (s *Server) install() (versions []schema.GroupVersion, err error) {
	groups := map[string]*genericapiserver.APIGroupInfo{}
	var order []string
	add := func(gv schema.GroupVersion, storages map[string]rest.Storage) {
		info := groups[gv.Group]
		if info == nil {
			info = s.group(gv)
			groups[gv.Group] = info
			order = append(order, gv.Group)
		}
		if info.VersionedResourcesStorageMap[gv.Version] == nil { // an older version of the group
			info.VersionedResourcesStorageMap[gv.Version] = map[string]rest.Storage{}
			info.PrioritizedVersions = append(info.PrioritizedVersions, gv)
		}
		maps.Copy(info.VersionedResourcesStorageMap[gv.Version], storages)
	}
	for _, r := range resources() {
		storages, err := s.storages(r)
		if err != nil {
			return nil, err
		}
		add(r.gv, storages)
		s.reads.Add(r.gv.WithResource(r.plural), r.table)
		s.writes.Add(r.gv.WithResource(r.plural), r.table, storages[r.plural])
		s.fair.Add(r.gv.WithResource(r.plural).GroupResource(), r.table)
	}
	add(usage.GroupVersion, usage.Storages(s.store))
	add(authorizationv1.SchemeGroupVersion, s.auth.AccessReviews())
	add(authenticationv1.SchemeGroupVersion, map[string]rest.Storage{"selfsubjectreviews": auth.SelfReview(), "tokenreviews": s.who.TokenReview()})
	for _, g := range order {
		if g == "" {
			err = s.api.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, groups[g])
		} else {
			err = s.api.InstallAPIGroup(groups[g])
		}
		if err != nil {
			return nil, fmt.Errorf("serving group %q: %w", g, err)
		}
		versions = append(versions, groups[g].PrioritizedVersions...)
	}
	return versions, nil
}

// group returns an API group with one version and nothing in it yet.
func (s *Server) group(gv schema.GroupVersion) *genericapiserver.APIGroupInfo {
	return &genericapiserver.APIGroupInfo{
		PrioritizedVersions:          []schema.GroupVersion{gv},
		VersionedResourcesStorageMap: map[string]map[string]rest.Storage{gv.Version: {}},
		OptionsExternalVersion:       &schema.GroupVersion{Version: "v1"},
		Scheme:                       s.scheme,
		NegotiatedSerializer:         s.codecs,
		ParameterCodec:               runtime.NewParameterCodec(s.scheme),
	}
}

// beforePut is what every write through the door passes inside its transaction.
func (s *Server) beforePut(tx *store.Tx, gr schema.GroupResource, o, old store.Object) error {
	if err := admit.InTx(tx, gr, o, old); err != nil {
		return admission.Refusal(err, gr, o)
	}
	return status.Of(s.cfg.Allocate(tx, o, old))
}

// servePlans answers plans. Their kind is a user's in discovery, and nothing is kept of it.
func (s *Server) servePlans() {
	kinds := map[schema.GroupVersionKind]plans.Kind{}
	for _, r := range resources() {
		kinds[r.gv.WithKind(r.table.GVK().Kind)] = plans.Kind{Resource: r.gv.WithResource(r.plural), Table: r.table}
	}
	h := plans.New(plans.Config{Store: s.store, Answer: s.cfg.Plan, As: s.loop.as, Kinds: kinds})
	s.api.Handler.NonGoRestfulMux.Handle(plans.Path, h)
	s.api.Handler.NonGoRestfulMux.HandlePrefix(plans.Path+"/", h)
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	return s.ext.Run(ctx, s.serve)
}

func (s *Server) serve(ctx context.Context) error {
	web := &http.Server{
		Handler: s.ext.Front().Handler, TLSConfig: s.cfg.TLS, MaxHeaderBytes: 1 << 20,
		IdleTimeout: 90 * time.Second, ReadHeaderTimeout: 32 * time.Second,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served, admitted := make(chan error, 1), make(chan error, 1)
	go func() { served <- web.ServeTLS(s.cfg.Listener, "", "") }()
	go func() { admitted <- s.admit.Run(ctx) }()
	defer func() { <-admitted }()
	var err error
	select {
	case err = <-admitted:
		admitted <- err
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-served:
		err = fmt.Errorf("serving the Kubernetes API: %w", err)
	}
	cancel()
	web.Close()
	if errors.Is(err, context.Canceled) {
		return ctx.Err()
	}
	return err
}
