package extend

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	apiextensionsserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime/schema"
	discoveryendpoint "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericapiserver "k8s.io/apiserver/pkg/server"
	aggregatorserver "k8s.io/kube-aggregator/pkg/apiserver"

	"trireme/internal/kind"
	"trireme/internal/store"
)

// Config configures the servers. All of it is required but ProxyCert.
type Config struct {
	Store *store.Store
	// Generic is the door's own configuration. It is copied, but for its
	// AggregatedDiscoveryGroupManager, which New sets and all servers share.
	Generic *genericapiserver.Config
	// BeforePut is what every write passes inside its transaction.
	BeforePut func(tx *store.Tx, gr schema.GroupResource, o, old store.Object) error
	// ProxyCert names the files of the certificate and key that the aggregator
	// shows to the servers behind it; empty: it shows none, and they believe
	// nothing that it says of its caller.
	ProxyCert, ProxyKey string
	Log                 *slog.Logger
}

func (c Config) validate() error {
	if c.Store == nil || c.Generic == nil || c.BeforePut == nil || c.Log == nil {
		return kind.New(kind.Invalid, "extend: Config is incomplete")
	}
	return nil
}

// Servers are the two servers around the door's own.
type Servers struct {
	cfg       Config
	custom    *apiextensionsserver.CustomResourceDefinitions
	aggregate *aggregatorserver.APIAggregator
	remote    *remotes
}

// New builds the server of custom resources. The door's own is built with
// Delegate as its delegate, and then given to Aggregate.
func New(cfg Config) (*Servers, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Generic.AggregatedDiscoveryGroupManager = discoveryendpoint.NewResourceManager("apis")
	s := &Servers{cfg: cfg}
	var err error
	if s.custom, err = s.newCustom(); err != nil {
		return nil, fmt.Errorf("building the server of custom resources: %w", err)
	}
	return s, nil
}

// Delegate is what the door's own server asks for paths that it does not know.
func (s *Servers) Delegate() genericapiserver.DelegationTarget { return s.custom.GenericAPIServer }

// Front is the server that every request comes to first. It is there after
// Aggregate.
func (s *Servers) Front() *genericapiserver.GenericAPIServer { return s.aggregate.GenericAPIServer }

// startGrace is how long Run waits, when it must end while it still starts, for
// what it started: the library ends the process if a start is cut short.
const startGrace = 10 * time.Second

// Run prepares the servers, calls serve, and ends what it started when serve
// has returned.
func (s *Servers) Run(ctx context.Context, serve func(context.Context) error) error {
	if _, err := s.aggregate.PrepareRun(); err != nil {
		return fmt.Errorf("preparing the Kubernetes API: %w", err)
	}
	top := s.aggregate.GenericAPIServer
	hooks, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer top.Destroy()
	defer cancel()
	top.RunPostStartHooks(hooks)
	err := serve(ctx)
	grace := time.After(startGrace)
	for _, started := range top.MuxAndDiscoveryCompleteSignals() {
		select {
		case <-started:
		case <-grace:
		}
	}
	return err
}

// copied returns a copy of the door's configuration for another server.
func (s *Servers) copied() genericapiserver.Config {
	c := *s.cfg.Generic
	c.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	c.RESTOptionsGetter = nil
	return c
}

func (s *Servers) log(what string, err error) {
	s.cfg.Log.Error("extending the Kubernetes API failed", "what", what, "err", err)
}
