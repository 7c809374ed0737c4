package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/assigned"
	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/config"
	"trireme/internal/agent/cpus"
	"trireme/internal/agent/credential"
	"trireme/internal/agent/csi"
	"trireme/internal/agent/device"
	"trireme/internal/agent/grant"
	"trireme/internal/agent/host"
	"trireme/internal/agent/image"
	"trireme/internal/agent/imagehealth"
	"trireme/internal/agent/mesos/executor"
	"trireme/internal/agent/mesos/fetch"
	"trireme/internal/agent/mesos/workdir"
	"trireme/internal/agent/mirror"
	"trireme/internal/agent/podresources"
	"trireme/internal/agent/pressure"
	"trireme/internal/agent/provider"
	"trireme/internal/agent/snapshot"
	"trireme/internal/agent/static"
	"trireme/internal/agent/stream"
	"trireme/internal/agent/sysctl"
	"trireme/internal/agent/usage"
	"trireme/internal/agent/volume"
	"trireme/internal/dataplane"
	"trireme/internal/dataplane/link"
	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/wire"
)

// Config is what an agent needs. All without another word is required.
type Config struct {
	Node, Root    string
	NodeIPs       []netip.Addr       // at most one a family; peers use the first
	Managers      []string           // host:port of agent listeners
	Learn         func([]string)     // takes which managers there are now; may be nil
	TLS           func() *tls.Config // of the session, asked at each dial
	ServerTLS     *tls.Config        // of the HTTPS; nil: it is not served
	Listen        string             // of the HTTPS; empty: ":10250"
	Mesos         net.Listener       // of Mesos' API; nil: it is not served
	Release       string             // of this program, as APIs tell it
	Runtime       runtime.Runtime
	Network       Network
	PauseImage    string // never collected; may be empty
	RegistryDir   string // where the runtime looks for its registries' hosts.toml; empty: it cannot be told
	ClusterDNS    string // empty: pods use the node's resolver
	ClusterDomain string
	Labels        map[string]string   // of the node, beside the usual ones
	MaxPods       int                 // 0: 110
	BackOffMin    time.Duration       // of crashes and pulls; 0: 10 s
	Eviction      *pressure.Rules     // nil: the usual ones
	Reserved      corev1.ResourceList // what of the node no pod may have; may be empty
	Ingress       bool                // the node answers for ingresses
	DevicePlugins string              // directory of their sockets; empty: none are served
	PodResources  string              // the socket that tells who has which devices and CPUs; empty: none
	ExclusiveCPUs bool                // Guaranteed pods with whole CPUs have them to themselves
	LimitedSwap   bool                // containers of Burstable pods may swap
	Sysctls       sysctl.Allowed      // what pods may ask the kernel for
	PullsMax      int                 // images that are pulled at a time; 0: as many as pods want
	// Plugins says why the CNI plugins of the user's choice cannot attach pods. Pods have
	// the addresses that these give them, as the runtime says; nil: managers choose them.
	Plugins func(context.Context) error
	// CredentialProviders are the programs that know registries' credentials: Path and
	// BinDir; without the former there are none.
	CredentialProviders provider.Config
	KubeletDir          string          // how CSI drivers name Root; empty: as it is
	StaticPods          string          // directory of manifests that run without a manager; empty: none
	Metrics             func(io.Writer) // more for /metrics, in Prometheus' text format; may be nil
	Log                 *slog.Logger

	// session and cgroups replace the real ones in tests.
	session func(assign func(context.Context, bool, []wire.Item) error) session
	cgroups cgroups
	meter   pressure.Meter
}

// Network is the node's network, which hears of every object that it may be
// made from.
type Network interface {
	Apply(ctx context.Context, full bool, changes []dataplane.Change) error
	// Renew lets the node answer for its floating addresses that much longer.
	Renew(lease time.Duration) error
	// Traffic is what pods have received and sent, by "namespace/name".
	Traffic() (map[string]link.Traffic, error)
	// Annotations are what the network has the node say of itself; may be nil.
	Annotations() map[string]string
}

// session is what the agent says to a manager; *wire.Client is the real one.
type session interface {
	credential.Session
	ReportPod(wire.PodReport)
	ReportNode(*corev1.NodeStatus)
	Announce()
	ReportEvent(*corev1.Event)
	ReportMirrors([]*corev1.Pod)
	ReportStorage(wire.NodeStorage)
	ReportSnapshots(map[string]*wire.SnapshotState)
	executor.Session
	Allow(context.Context, *wire.AllowRequest) (*wire.AllowResponse, error)
	Lease() time.Duration
	Run(context.Context) error
}

// cgroups is the tree that pods run in.
type cgroups interface {
	Parent(*corev1.Pod) string
	Create(*corev1.Pod) error // or widen it
	Fit(*corev1.Pod) error
	Bound(corev1.ResourceList) error // of all pods together
	AllowSwap(limited bool) (cgroup.Swap, error)
	Remove(types.UID) error
}

// slotsMax is how many sandboxes and containers are made at the same time.
const slotsMax = 8

// Agent runs this node's pods.
type Agent struct {
	cfg         Config
	healths     *imagehealth.Reader
	session     session
	objects     *assigned.Objects
	volumes     *volume.Manager
	drivers     *csi.Drivers
	snapshots   *snapshot.Keeper
	keeper      *credential.Keeper
	sandboxes   *workdir.Keeper
	fetcher     *fetch.Fetcher
	executors   *executor.Executors
	mesosKnown  atomic.Pointer[string] // Mesos' id of this node; nil: nobody has told
	images      *image.Manager
	providers   *provider.Providers // nil: none
	mirror      *mirror.Mirror      // nil: none
	cgroups     cgroups
	slots       chan struct{}
	relist      chan struct{}
	dirtyCache  chan struct{}
	repin       chan struct{} // others have other CPUs now
	memoryBytes int64
	swap        cgroup.Swap // its Bytes change
	status      nodeStatus
	grants      grant.Ledger
	pressure    *pressure.Manager
	meter       *usage.Meter
	rules       *pressure.Rules
	static      *static.Set
	devices     *device.Manager
	cpus        *cpus.Manager // nil: none are exclusive
	given       given
	assigning   sync.Mutex // held while assignments are taken over

	mu       sync.Mutex
	workers  map[types.UID]*worker
	found    map[types.UID][]runtime.Sandbox // what the runtime had at the start, until a worker takes it
	pool     *sync.WaitGroup                 // of the workers, while Run runs
	runCtx   func() context.Context
	netErr   error
	fullSeen bool // a manager has said what is assigned
	// remirrorAt is when managers are told of static pods again; zero: they know.
	remirrorAt time.Time
}

// New returns an agent that is not running yet.
func New(cfg Config) (*Agent, error) {
	if cfg.Node == "" || cfg.Root == "" || len(cfg.NodeIPs) == 0 || cfg.Runtime == nil || cfg.Network == nil || cfg.Log == nil {
		return nil, kind.New(kind.Invalid, "agent: Config lacks a required field")
	}
	if cfg.Listen == "" {
		cfg.Listen = ":10250"
	}
	if cfg.MaxPods == 0 {
		cfg.MaxPods = 110
	}
	if cfg.BackOffMin == 0 {
		cfg.BackOffMin = 10 * time.Second
	}
	a := &Agent{
		cfg: cfg, objects: assigned.New(), slots: make(chan struct{}, slotsMax), relist: make(chan struct{}, 1),
		dirtyCache: make(chan struct{}, 1), repin: make(chan struct{}, 1), cgroups: cfg.cgroups, workers: map[types.UID]*worker{},
		given: given{of: map[types.UID][]corev1.PodIP{}}, healths: imagehealth.New(cfg.Runtime),
	}
	if a.cgroups == nil {
		tree, err := cgroup.Open(cfg.Root)
		if err != nil {
			return nil, err
		}
		a.cgroups = tree
	}
	a.memoryBytes = host.MemoryBytes()
	a.keeper = credential.New(credential.Config{
		Session: func() credential.Session { return a.session }, Account: a.objects.AccountUID, Context: a.runContext,
	})
	a.drivers = csi.New(csi.Config{
		Home: csi.Home{Root: cfg.Root, Named: cfg.KubeletDir}, Node: cfg.Node, Objects: a.objects, Token: a.keeper.Token,
		Context: a.runContext, Changed: a.driversChanged, Used: func() { a.refreshNode(a.runContext()) }, Grown: a.reportStorage, Log: cfg.Log,
	})
	a.snapshots = a.newSnapshots()
	if err := errors.Join(a.openSandboxes(), a.openExecutors()); err != nil {
		return nil, err
	}
	a.volumes = volume.New(cfg.Root, a.objects, a.node, volume.Credentials{Tokens: a.keeper, Certificates: a.keeper}, volume.Persistent{
		Claims: a.objects, Drivers: a.drivers, Images: layers{a}, Copies: a.snapshots, Sandboxes: a.sandboxes, Made: func() { a.refreshNode(a.runContext()) },
	})
	a.images = image.New(image.Config{Runtime: cfg.Runtime, BackOffMin: cfg.BackOffMin, PullsMax: cfg.PullsMax, InUse: a.imagesInUse, Keep: cfg.PauseImage, Log: cfg.Log})
	if err := errors.Join(a.watchPressure(), a.openDevices(), a.openProviders(), a.bound(), a.openSwap(), a.openCPUs()); err != nil {
		return nil, err
	}
	a.static = static.New(cfg.StaticPods, cfg.Node)
	if cfg.session != nil {
		a.session = mirroring{cfg.session(a.assign), a.static}
		return a, nil
	}
	client, err := wire.NewClient(wire.ClientConfig{
		Managers: cfg.Managers, TLS: cfg.TLS, Node: a.hello, Wants: assigned.Tables(cfg.Ingress),
		Assign: a.assign, Message: a.executors.Message, Learn: cfg.Learn, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	a.session = mirroring{client, a.static}
	if cfg.RegistryDir != "" {
		a.mirror = mirror.New(mirror.Config{Source: client, Dir: cfg.RegistryDir, TLS: cfg.TLS, Log: cfg.Log})
	}
	return a, nil
}

// Run runs pods until ctx ends. They go on running after that.
func (a *Agent) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	g, ctx := errgroup.WithContext(ctx)
	if err := a.adoptAll(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	a.pool, a.runCtx = &workers, func() context.Context { return ctx }
	a.mu.Unlock()
	a.refreshNode(ctx)
	a.nodeEvent(corev1.EventTypeNormal, "Starting", "Starting the agent.")
	a.scanStatic(ctx)
	if err := a.loadCache(ctx); err != nil {
		a.cfg.Log.Error("reading the last assignments", "err", err)
	}
	if a.cfg.StaticPods != "" {
		g.Go(func() error { return a.staticLoop(ctx) })
	}
	if a.cfg.DevicePlugins != "" {
		g.Go(func() error { return a.devices.Run(ctx) })
	}
	if a.cfg.PodResources != "" {
		l := podresources.Lister{Socket: a.cfg.PodResources, Pods: a.Pods, CPUs: a.cpus, Devices: a.devices}
		g.Go(func() error { return l.Run(ctx) })
	}
	g.Go(func() error { return a.watchRuntime(ctx) })
	g.Go(func() error { return a.relistLoop(ctx) })
	g.Go(func() error { return a.repinLoop(ctx) })
	g.Go(func() error { return a.nodeLoop(ctx) })
	g.Go(func() error { return a.cacheLoop(ctx) })
	g.Go(func() error { return a.images.Run(ctx) })
	g.Go(func() error { return a.rotateLoop(ctx) })
	g.Go(func() error { return a.sandboxes.Run(ctx) })
	g.Go(func() error { return a.executors.Run(ctx) })
	g.Go(func() error { return a.pressure.Run(ctx) })
	g.Go(func() error { return a.credentialLoop(ctx) })
	g.Go(func() error { return a.leaseLoop(ctx) })
	g.Go(func() error { return a.drivers.Run(ctx) })
	g.Go(func() error { return a.snapshots.Run(ctx) })
	g.Go(func() error { return a.session.Run(ctx) })
	if a.mirror != nil {
		g.Go(func() error { return a.mirror.Run(ctx) })
	}
	if a.cfg.Mesos != nil {
		g.Go(func() error { return a.mesosServer().Run(ctx, a.cfg.Mesos) })
	}
	if a.cfg.ServerTLS != nil {
		s := stream.New(stream.Config{
			Listen: a.cfg.Listen, TLS: a.cfg.ServerTLS, Runtime: a.cfg.Runtime, Pods: a, Images: a.images, Stats: a.Summary, Scrape: a.meter.Scrape, Metrics: a.cfg.Metrics, Stop: a.cfg.Runtime.StopContainer, Log: a.cfg.Log,
		})
		g.Go(func() error { return s.Run(ctx) })
	}
	err := g.Wait()
	workers.Wait()
	return err
}

// adoptAll waits for the runtime and learns what it has.
func (a *Agent) adoptAll(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for said := false; ; {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		list, err := a.cfg.Runtime.List(ctx)
		if err == nil {
			a.mu.Lock()
			a.found = byPod(list)
			a.mu.Unlock()
			return a.recallAddresses(ctx, list)
		}
		if !said {
			a.cfg.Log.Warn("waiting for the container runtime", "err", err)
			said = true
		}
		pause.Reset(runtimePause)
	}
}

// runtimePause is between two tries to reach the runtime; relistEvery and
// relistMin how often, at least and at most, everything is listed.
const (
	runtimePause = time.Second
	relistEvery  = 10 * time.Second
	relistMin    = time.Second
)

// watchRuntime hands the runtime's events to the workers.
func (a *Agent) watchRuntime(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for uid, err := range a.cfg.Runtime.Events(ctx) {
			if err != nil {
				if ctx.Err() == nil {
					a.cfg.Log.Warn("the container runtime's events ended", "err", err)
				}
				break
			}
			if w := a.worker(uid); w != nil {
				w.changed(ctx)
			} else if uid == "" {
				a.relistSoon()
			}
		}
		pause.Reset(runtimePause)
	}
}

func (a *Agent) relistSoon() {
	select {
	case a.relist <- struct{}{}:
	default:
	}
}

// relistLoop compares what is with what is known, in case an event was lost.
func (a *Agent) relistLoop(ctx context.Context) error {
	t := time.NewTicker(relistEvery)
	defer t.Stop()
	var last time.Time
	for {
		select {
		case <-t.C:
		case <-a.relist:
			if time.Since(last) < relistMin {
				t.Reset(relistMin)
				continue
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		t.Reset(relistEvery)
		began := time.Now()
		last = began
		list, err := a.cfg.Runtime.List(ctx)
		if err != nil {
			if ctx.Err() == nil {
				a.cfg.Log.Warn("listing what runs", "err", err)
			}
			continue
		}
		sandboxes := byPod(list)
		for uid, w := range a.allWorkers() {
			w.listed(ctx, sandboxes[uid], began)
		}
		a.endOrphans(ctx, sandboxes)
	}
}

// slot waits for room to make one more sandbox or container; the caller returns
// it by calling release.
func (a *Agent) slot(ctx context.Context) (release func(), err error) {
	select {
	case a.slots <- struct{}{}:
		return func() { <-a.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// runContext returns the context that Run runs under.
func (a *Agent) runContext() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runCtx()
}

func (a *Agent) worker(uid types.UID) *worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.workers[uid]
}

// republishEvery is how often drivers are called again that want to be: a kubelet does so
// each time that it looks at a pod.
const republishEvery = time.Minute

// credentialLoop makes the volumes anew in which something is to be renewed.
func (a *Agent) credentialLoop(ctx context.Context) error {
	tick, again := time.NewTicker(credential.Every), time.NewTicker(republishEvery)
	defer tick.Stop()
	defer again.Stop()
	for {
		select {
		case <-tick.C:
		case <-again.C:
			for _, w := range a.allWorkers() {
				w.republish(ctx)
			}
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		a.keeper.Forget(func(uid types.UID) bool { return a.worker(uid) != nil })
		for uid := range a.keeper.Due(time.Now()) {
			if w := a.worker(uid); w != nil {
				w.refresh(ctx)
			}
		}
	}
}

func (a *Agent) allWorkers() map[types.UID]*worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[types.UID]*worker, len(a.workers))
	for uid, w := range a.workers {
		out[uid] = w
	}
	return out
}

// node is what pods may learn about this node.
func (a *Agent) node() *config.Node {
	return &config.Node{
		Name: a.cfg.Node, IPs: a.cfg.NodeIPs, Allocatable: a.status.allocatable(), ClusterDNS: a.cfg.ClusterDNS, Domain: a.cfg.ClusterDomain,
	}
}

func (a *Agent) path(parts ...string) string {
	return filepath.Join(append([]string{a.cfg.Root}, parts...)...)
}

// imagesInUse returns the IDs of the images of this node's containers.
func (a *Agent) imagesInUse() map[string]bool {
	out := map[string]bool{}
	for _, w := range a.allWorkers() {
		for _, c := range w.containers() {
			out[c.imageID] = true
		}
	}
	return out
}

// errNetwork is reported while the network refuses what it was told.
var errNetwork = errors.New("the network is not programmed")

func (a *Agent) networkError() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.netErr == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errNetwork, a.netErr)
}
