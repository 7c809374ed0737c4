package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/access"
	"trireme/internal/account"
	"trireme/internal/allocate"
	"trireme/internal/api/docker"
	"trireme/internal/api/kube"
	"trireme/internal/api/kube/auditlog"
	"trireme/internal/api/kube/fairness"
	"trireme/internal/api/kube/identity"
	"trireme/internal/api/marathon"
	"trireme/internal/certify"
	"trireme/internal/certify/acme"
	"trireme/internal/certify/serving"
	"trireme/internal/dispatch"
	"trireme/internal/dispatch/adapters"
	measuring "trireme/internal/dispatch/measure"
	"trireme/internal/etcdlog"
	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/offer"
	"trireme/internal/orchestrate"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/policy"
	"trireme/internal/registry"
	"trireme/internal/review"
	"trireme/internal/schedule"
	"trireme/internal/server/front"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/whatif"
	"trireme/internal/wire"
)

// manager is the manager's half of a process.
type manager struct {
	cfg   Config
	pki   *wire.PKI
	token *joinToken // of nodes
	// managerToken lets other managers join.
	managerToken *joinToken
	tokens       *account.Issuer
	api          net.Listener
	agents       net.Listener
	docker       net.Listener // the Docker API's socket and port; nil: none
	dockerTLS    net.Listener
	mesos        net.Listener // the Mesos API's port; nil: there is none
	marathon     net.Listener // the Marathon API's port; nil: none
	zookeeper    net.Listener // where ZooKeeper's clients ask; nil: nowhere
	front        *front.Front // keeps all of these
	doors        *front.Term  // of the term that is now
	peering      *etcdlog.Peering
	join         string // what this manager's log starts with that joins others; empty: it does not
	audit        *auditlog.Log
	// identity is whose word is taken; proxyCert and proxyKey are the files of what
	// the aggregator shows to the servers behind it.
	identity            *identity.Sources
	proxyCert, proxyKey string
}

// newManager takes the ports and opens the authority: what can be refused at
// once is refused here. join is what its log starts with that joins others.
func newManager(cfg Config, join string) (*manager, error) {
	m := &manager{cfg: cfg, join: join}
	var err error
	if m.pki, err = wire.OpenPKI(cfg.path("pki")); err != nil {
		return nil, err
	}
	if m.token, err = openToken(cfg.path("pki", WorkerTokenFile), m.pki.Digest(), false); err != nil {
		return nil, err
	}
	if m.managerToken, err = openToken(cfg.path("pki", ManagerTokenFile), m.pki.Digest(), true); err != nil {
		return nil, err
	}
	key, err := m.pki.AccountKey()
	if err != nil {
		return nil, err
	}
	if m.tokens, err = account.NewIssuer(account.Config{Key: key, URL: "https://kubernetes.default.svc." + cfg.Domain}); err != nil {
		return nil, err
	}
	if m.audit, err = auditlog.Open(cfg.Manager.Audit); err != nil {
		return nil, err
	}
	if err := m.openIdentity(); err != nil {
		return nil, err
	}
	if err := m.openPorts(); err != nil {
		return nil, err
	}
	if err := m.openFront(); err != nil {
		return nil, err
	}
	return m, m.writeKubeconfig()
}

// openPorts takes the ports and sockets; where one cannot be had, none stays taken.
func (m *manager) openPorts() (err error) {
	c := &m.cfg.Manager
	var open []net.Listener
	for _, p := range []struct {
		at     *net.Listener
		listen func() (net.Listener, error)
	}{
		{&m.api, func() (net.Listener, error) { return listen("Kubernetes API", "--api-listen", c.APIListen) }},
		{&m.agents, func() (net.Listener, error) { return listen("agent sessions", "--agent-listen", c.AgentListen) }},
		{&m.docker, func() (net.Listener, error) { return dockerSocket(c.DockerSocket) }},
		{&m.dockerTLS, func() (net.Listener, error) { return dockerPort(c.DockerListen) }},
		{&m.marathon, func() (net.Listener, error) {
			return openPort(m.cfg.Log, "Marathon API", "--marathon-listen", c.MarathonListen, defaultMarathonListen)
		}},
		{&m.mesos, func() (net.Listener, error) {
			return openPort(m.cfg.Log, "Mesos API", "--mesos-listen", c.MesosListen, defaultMesosListen)
		}},
		{&m.zookeeper, func() (net.Listener, error) {
			return openPort(m.cfg.Log, "ZooKeeper API", "--zookeeper-listen", cmp.Or(c.ZooKeeperListen, noSocket), "")
		}},
	} {
		if *p.at, err = p.listen(); err != nil {
			for _, l := range open {
				err = errors.Join(err, closeAny(l))
			}
			return err
		}
		open = append(open, *p.at)
	}
	return nil
}

// Run serves until ctx ends.
func (m *manager) Run(ctx context.Context) error {
	log, err := etcdlog.New(etcdlog.Config{
		Dir: m.cfg.path("etcd"), Logger: m.cfg.Log.With("part", "etcd"), UnsafeNoSync: m.cfg.Manager.UnsafeNoSync, Peering: m.peering, Alone: m.cfg.Manager.Alone,
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	// The log stops last: what is pending still reaches the disk.
	logCtx, stopLog := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return log.Run(logCtx) })
	g.Go(func() error {
		defer stopLog()
		select {
		case <-log.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
		return m.lead(ctx, log)
	})
	g.Go(func() error { return m.front.Run(ctx) })
	g.Go(func() error { return m.audit.Run(ctx) })
	g.Go(func() error { return m.identity.Run(ctx) })
	return g.Wait()
}

// term is one term of leading: the store and all that stands on it.
func (m *manager) term(ctx context.Context, log *etcdlog.Log) error {
	s, err := store.Open(ctx, store.Config{
		Log: log.Leader(), Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) },
	}, tables.Defs()...)
	if err != nil {
		return err
	}
	if err := m.adoptTokens(ctx, s); err != nil {
		return err
	}
	alloc := allocate.New(allocate.Config{
		PodCIDRs: m.cfg.podCIDRs(), ServiceCIDRs: m.cfg.serviceCIDRs(),
		NodePortMin: m.cfg.Manager.NodePortMin, NodePortMax: m.cfg.Manager.NodePortMax,
		Reserved: m.cfg.ports(),
	})
	images, err := m.registry(s)
	if err != nil {
		return err
	}
	others := &managers{m: m, log: log}
	door, err := m.door(s, alloc, others.serving())
	if err != nil {
		return err
	}
	d, err := m.dispatcher(s, images, door, others)
	if err != nil {
		return err
	}
	swarm, err := m.dockerDoor(s, door, others.serving())
	if err != nil {
		return err
	}
	apps, err := m.marathonDoor(s, door)
	if err != nil {
		return err
	}
	loops := loop.New(s, loop.Config{Log: m.cfg.Log}, Loops(alloc, m.pki.CAPEM(), &m.cfg.Manager)...)
	frameworks, err := m.mesosDoor(s, door, loops.Stats, d.ToExecutor)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error { return loops.Run(ctx) })
	g.Go(func() error { return d.Run(ctx, m.doors.Listener(agentsDoor)) })
	g.Go(func() error { return others.keep(ctx, s) })
	g.Go(func() error { return m.measure(ctx, s) })
	g.Go(func() error { return images.Run(ctx) })
	g.Go(func() error { return door.Run(ctx) })
	g.Go(func() error { return m.foreignDoors(ctx, door, swarm, apps) })
	if frameworks != nil {
		g.Go(func() error { return frameworks.Run(ctx) })
	}
	g.Go(func() error { return m.zooKeeper(ctx, s) })
	g.Go(func() error { return review.New(s, door).Run(ctx) })
	g.Go(func() error { return adapters.New(s, door.Ask).Run(ctx) })
	g.Go(func() error { return m.certify(ctx, s) })
	g.Go(func() error { return fairness.Keep(ctx, s) })
	g.Go(func() error { return account.NewKeeper(m.tokens, s, m.pki.CAPEM()).Run(ctx) })
	g.Go(func() error { return m.bootstrap(ctx, s) })
	return g.Wait()
}

// foreignDoors opens the doors that write our own kinds through the Kubernetes door, once it
// serves these: who knocks at a cluster that has just begun waits for a moment, or is told to come again.
func (m *manager) foreignDoors(ctx context.Context, door *kube.Server, swarm *docker.Server, apps *marathon.Server) error {
	defer door.Complete()
	if err := served(ctx, door.LoopbackAs(kube.CallerOf(access.User{Name: wire.AdminName, Groups: []string{wire.MastersGroup, access.Authenticated}}))); err != nil {
		return err
	}
	door.Complete()
	g, ctx := errgroup.WithContext(ctx)
	if swarm != nil {
		g.Go(func() error { return swarm.Run(ctx) })
	}
	if apps != nil {
		g.Go(func() error { return apps.Run(ctx) })
	}
	return g.Wait()
}

// certify answers who asks for certificates, until ctx ends.
func (m *manager) certify(ctx context.Context, s *store.Store) error {
	signer, err := certify.New(certify.Config{Store: s, Access: access.NewChecker(s), Sign: m.pki.Certify})
	if err != nil {
		return err
	}
	own, err := serving.New(serving.Config{Store: s, CAPEM: m.pki.CAPEM(), Sign: m.pki.Certify, Domain: m.cfg.Domain, Hosts: m.hosts()})
	if err != nil {
		return err
	}
	client, err := m.cfg.Manager.ACME.Client()
	if err != nil {
		return err
	}
	others, err := acme.New(acme.Config{Store: s, Domain: m.cfg.Domain, Settings: m.cfg.Manager.ACME, Server: client, Nodes: &http.Transport{DisableKeepAlives: true}})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return signer.Run(ctx) })
	g.Go(func() error { return own.Run(ctx) })
	g.Go(func() error { return others.Run(ctx) })
	return g.Wait()
}

// Loops returns every control loop of a manager in the order of the pipeline:
// orchestrate, offer, schedule, allocate. Offers come before the scheduler, so that what is
// free is lent to who stands lowest before others take it.
func Loops(alloc *allocate.Allocator, caPEM []byte, cfg *ManagerConfig) []loop.Reconciler {
	loops := orchestrate.Loops(orchestrate.Config{
		CAPEM: caPEM, Pods: sow.Rules{Fill: policy.Fill, Allow: policy.Allow, Review: new(policy.Hooks).ReviewPod}, ReservedPort: alloc.Reserved,
		MesosSilence: max(time.Duration(cfg.MesosAgentTimeout-cfg.Grace), time.Second),
	})
	loops = append(loops, offer.NewLoop(offer.LoopConfig{Timeout: time.Duration(cfg.OfferTimeout)}), scheduler(cfg))
	return append(loops, alloc.Loops()...)
}

// scheduler returns a new scheduler, for the cluster or to plan with.
func scheduler(cfg *ManagerConfig) loop.Reconciler {
	return schedule.New(schedule.Config{Profiles: cfg.profiles})
}

// planner returns what answers plans. Webhooks are not asked about pods that nobody makes.
func planner(s *store.Store, cfg *ManagerConfig) *whatif.Planner {
	return whatif.New(whatif.Config{Store: s, Now: time.Now, Loops: func() []loop.Reconciler {
		return append(orchestrate.PodLoops(sow.Rules{Fill: policy.Fill, Allow: policy.Allow}), scheduler(cfg))
	}})
}

func (m *manager) hosts() []string {
	return append(m.cfg.hosts(),
		"127.0.0.1", "localhost", m.cfg.Node, m.cfg.serviceAddress(1).String(),
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc."+m.cfg.Domain,
	)
}

// registry opens the images that users gave to the cluster.
func (m *manager) registry(s *store.Store) (*registry.Registry, error) {
	conf, err := m.askAgents()
	if err != nil {
		return nil, err
	}
	return registry.Open(s, registry.Config{Dir: m.cfg.path("images"), TLS: conf, Log: m.cfg.Log})
}

// askAgents returns what the manager shows to agents.
func (m *manager) askAgents() (*tls.Config, error) {
	cert, err := m.pki.Issue(wire.Leaf{Name: wire.ManagerName, Group: wire.MastersGroup, Hosts: m.hosts()})
	if err != nil {
		return nil, err
	}
	return wire.ClientTLS(cert, m.pki.Pool()), nil
}

func (m *manager) dispatcher(s *store.Store, images *registry.Registry, door *kube.Server, others *managers) (*dispatch.Dispatcher, error) {
	cert, err := m.pki.Issue(wire.Leaf{Name: wire.ManagerName, Group: wire.MastersGroup, Hosts: m.hosts()})
	if err != nil {
		return nil, err
	}
	return dispatch.New(s, dispatch.Config{
		PKI: m.pki, Token: m.token.Token, Managers: others, Certificate: cert, TLS: others.serving(), Accounts: m.tokens, Registry: images, Overlay: m.cfg.Manager.overlay(), Grace: time.Duration(m.cfg.Manager.Grace), Log: m.cfg.Log,
		Audience: audiences(access.NewChecker(s)), Allow: m.allow(s, door),
	})
}

// audiences says which audiences' tokens nodes were granted.
func audiences(rules *access.Checker) func(string, object.Key, string) bool {
	return func(node string, account object.Key, audience string) bool {
		ok, _ := rules.Allows(&access.Request{
			User: access.User{Name: access.NodePrefix + node, Groups: []string{access.Nodes, access.Authenticated}},
			Verb: dispatch.AudienceVerb, Resource: audience, Namespace: account.Namespace, Name: account.Name,
		})
		return ok
	}
}

// measure keeps what nodes and pods use, until ctx ends.
func (m *manager) measure(ctx context.Context, s *store.Store) error {
	conf, err := m.askAgents()
	if err != nil {
		return err
	}
	return measuring.New(s, measuring.Config{TLS: conf, Log: m.cfg.Log}).Run(ctx)
}

func (m *manager) door(s *store.Store, alloc *allocate.Allocator, serving *tls.Config) (*kube.Server, error) {
	cert, err := m.pki.Issue(wire.Leaf{Name: wire.ManagerName, Group: wire.MastersGroup, Hosts: m.hosts()})
	if err != nil {
		return nil, err
	}
	return kube.New(s, kube.Config{
		ProxyCert: m.proxyCert, ProxyKey: m.proxyKey, Identity: m.identity, Seats: m.cfg.Manager.RequestsMax + m.cfg.Manager.MutatingMax,
		Listener: m.doors.Listener(apiDoor), TLS: serving, ClientCA: m.pki.Pool(),
		NodeTLS: wire.ClientTLS(cert, m.pki.Pool()), Allocate: alloc.Object, Accounts: m.tokens, Audit: m.audit, Grows: true, Plan: planner(s, &m.cfg.Manager).Answer, Log: m.cfg.Log,
	})
}
