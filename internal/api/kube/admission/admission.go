package admission

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatinghook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatinghook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"trireme/internal/policy"
	"trireme/internal/store"
)

// Config configures a Chain. Everything is required.
type Config struct {
	Store *store.Store
	// Client calls the door in process: parameters of policies are read, and
	// schemas, through it.
	Client *rest.Config
	// Scheme knows the types that policies are checked against.
	Scheme *runtime.Scheme
	// Authorizer answers what expressions ask of it.
	Authorizer authorizer.Authorizer
}

// Chain is what every writing request passes. It is ready for requests that no
// webhook and no policy concerns from the start, for the others while Run runs.
type Chain struct {
	cfg     Config
	chain   admission.MutationInterface
	guards  []*guard
	concern *concerns
	mapper  meta.ResettableRESTMapper // of the running term
}

// New returns a chain.
func New(cfg Config) (*Chain, error) {
	c := &Chain{cfg: cfg, concern: &concerns{store: cfg.Store}}
	policies, err := mutatingpolicy.NewPlugin(nil)
	if err != nil {
		return nil, fmt.Errorf("making the plugin of mutating policies: %w", err)
	}
	hooks, err := mutatinghook.NewMutatingWebhook(nil)
	if err != nil {
		return nil, fmt.Errorf("making the plugin of mutating webhooks: %w", err)
	}
	checks, err := validatingpolicy.NewPlugin(nil)
	if err != nil {
		return nil, fmt.Errorf("making the plugin of validating policies: %w", err)
	}
	last, err := validatinghook.NewValidatingAdmissionWebhook(nil)
	if err != nil {
		return nil, fmt.Errorf("making the plugin of validating webhooks: %w", err)
	}
	handlers := []admission.Interface{rules{cfg.Store}}
	for i, p := range []admission.Interface{policies, hooks, checks, last} {
		g := &guard{plugin: p, concerned: func(a admission.Attributes) bool { return c.concern.of(a, policy.HookSource(i)) }}
		c.guards = append(c.guards, g)
		handlers = append(handlers, g)
	}
	c.chain = admission.NewChainHandler(handlers...)
	return c, nil
}

// Handles implements admission.Interface.
func (c *Chain) Handles(op admission.Operation) bool { return c.chain.Handles(op) }

// Admit implements admission.MutationInterface. It runs a second time where a
// plugin asks for it because another changed the object after it.
func (c *Chain) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if err := c.chain.Admit(ctx, a, o); err != nil {
		return err
	}
	again := a.GetReinvocationContext()
	if !again.ShouldReinvoke() {
		return nil
	}
	again.SetIsReinvoke()
	return c.chain.Admit(ctx, a, o)
}

// Validate implements admission.ValidationInterface.
func (c *Chain) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return c.chain.(admission.ValidationInterface).Validate(ctx, a, o)
}

// Concerned reports whether any webhook or policy may have a say in requests of
// that operation on a resource; subresource is empty for the resource itself. It
// costs a look at four table revisions.
func (c *Chain) Concerned(gr schema.GroupResource, subresource string, op admission.Operation) bool {
	for s := range policy.HookSources {
		if c.concern.matches(gr.Resource, subresource, op, s) {
			return true
		}
	}
	return false
}

// Run feeds the plugins until ctx ends.
func (c *Chain) Run(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.cfg.Client)
	if err != nil {
		return fmt.Errorf("making the client of admission: %w", err)
	}
	untyped, err := dynamic.NewForConfig(c.cfg.Client)
	if err != nil {
		return fmt.Errorf("making the dynamic client of admission: %w", err)
	}
	informers := feed(c.cfg.Store, client)
	c.mapper = newMapper(client.Discovery())
	inits := admission.PluginInitializers{
		initializer.New(client, untyped, informers, c.cfg.Authorizer, utilfeature.DefaultFeatureGate,
			compatibility.DefaultBuildEffectiveVersion(), ctx.Done(), c.mapper),
		webhookinit.NewPluginInitializer(c.clients, services{c.cfg.Store}),
		reviews{},
	}
	for _, g := range c.guards {
		inits.Initialize(g.plugin)
		if err := admission.ValidateInitialization(g.plugin); err != nil {
			return fmt.Errorf("starting admission: %w", err)
		}
	}
	informers.Start(ctx.Done())
	defer informers.Shutdown()
	for _, g := range c.guards {
		g.running.Store(true)
		defer g.running.Store(false)
	}
	return c.typeCheck(ctx, client)
}

// guard calls a plugin for requests that concern it only, so that a cluster
// without webhooks and policies pays nothing for them.
type guard struct {
	plugin    admission.Interface
	concerned func(admission.Attributes) bool
	running   atomic.Bool
}

// Handles implements admission.Interface.
func (g *guard) Handles(op admission.Operation) bool { return g.plugin.Handles(op) }

// Admit implements admission.MutationInterface.
func (g *guard) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	p, ok := g.plugin.(admission.MutationInterface)
	if !ok || !g.concerned(a) {
		return nil
	}
	if !g.running.Load() {
		return admission.NewForbidden(a, errNotRunning)
	}
	return p.Admit(ctx, a, o)
}

// Validate implements admission.ValidationInterface.
func (g *guard) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	p, ok := g.plugin.(admission.ValidationInterface)
	if !ok || !g.concerned(a) {
		return nil
	}
	if !g.running.Load() {
		return admission.NewForbidden(a, errNotRunning)
	}
	return p.Validate(ctx, a, o)
}

var errNotRunning = errors.New("admission is not running yet: try again")

// reviews tells plugins which resources no webhook and no policy may stand
// before: with them, nobody could be asked who may lift it.
type reviews struct{}

// Initialize implements admission.PluginInitializer.
func (reviews) Initialize(p admission.Interface) {
	if w, ok := p.(initializer.WantsExcludedAdmissionResources); ok {
		w.SetExcludedAdmissionResources([]schema.GroupResource{
			{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}, {Group: "authentication.k8s.io", Resource: "tokenreviews"},
			{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}, {Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"},
			{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}, {Group: "authorization.k8s.io", Resource: "subjectaccessreviews"},
		})
	}
}

// Running reports whether the chain is ready for every request.
func (c *Chain) Running() bool {
	for _, g := range c.guards {
		if !g.running.Load() {
			return false
		}
	}
	return true
}
