package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/balance"
	"trireme/internal/dataplane/chain"
	"trireme/internal/dataplane/dns"
	"trireme/internal/dataplane/filter"
	"trireme/internal/dataplane/health"
	"trireme/internal/dataplane/link"
	"trireme/internal/dataplane/nft"
	"trireme/internal/dataplane/proxy"
	"trireme/internal/kind"
	"trireme/internal/object/family"
	"trireme/internal/object/peers"
)

// Config configures a Dataplane.
type Config struct {
	Node     string       // this node's name. Required
	NodeIPs  []netip.Addr // its addresses, one a family; peers use the first. Required
	Root     string       // the node's state folder. Required
	Networks []Network    // the cluster's, one a family, the primary one first. Required
	Domain   string       // empty: "cluster.local"
	Upstream []string     // resolvers, "ADDR:PORT"; nil: those of /etc/resolv.conf
	// Stubs are the resolvers of domains, "ADDR:PORT", instead of Upstream.
	Stubs  map[string][]string
	Bridge string       // link and table name, at most 12 letters; empty: DefaultBridge
	Log    *slog.Logger // nil: nothing is logged
	// Tunnel is the program that encrypts the overlay, where the node is told to.
	Tunnel   string
	KeyLife  time.Duration // of the node's key then; 0: DefaultKeyLife
	Announce func()        // called when Annotations are others; must not wait; may be nil
	// Warn has people hear of something about this node, as an event; may be nil.
	Warn func(reason, message string)
	// AccessLog gets a line of JSON for each request of ingress; nil: none is written.
	AccessLog io.Writer
	// Plugins attach the node's pods in place of our links; the zero value: none do.
	Plugins Plugins
}

// Plugins are CNI plugins of the user's choice (package chain).
type Plugins struct {
	ConfDir string   // of network configurations, the first of which is used
	BinDirs []string // where the plugins are
}

// Network is what the cluster has in one address family.
type Network struct {
	Pods, Services netip.Prefix
	DNS            netip.Addr // on every node
}

func (n Network) v6() bool { return n.Pods.Addr().Is6() }

func (n Network) family() corev1.IPFamily { return family.Of(n.Pods.Addr()) }

// DefaultBridge is the name of our link and nftables table.
const DefaultBridge = "trireme0"

func (c *Config) validate() error {
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	if c.Bridge == "" {
		c.Bridge = DefaultBridge
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.KeyLife == 0 {
		c.KeyLife = DefaultKeyLife
	}
	switch {
	case c.Node == "" || c.Root == "":
		return kind.New(kind.Invalid, "the dataplane needs a node name and a root folder")
	case len(c.NodeIPs) == 0 || len(c.Networks) == 0:
		return kind.New(kind.Invalid, "the dataplane needs the node's address and the cluster's networks")
	case len(c.Bridge) > 12:
		return kind.New(kind.Invalid, "link name %q is longer than 12 letters", c.Bridge)
	}
	var own []string
	for _, n := range c.Networks {
		if n.Services.Addr().Is6() != n.v6() || n.DNS.Is6() != n.v6() {
			return kind.New(kind.Invalid, "pod network %v, service network %v and DNS address %v must be of one family", n.Pods, n.Services, n.DNS)
		}
		own = append(own, n.DNS.String())
	}
	if c.Upstream == nil {
		c.Upstream = dns.Resolvers("/etc/resolv.conf", own...)
	}
	return nil
}

// Dataplane is one node's network.
type Dataplane struct {
	cfg   Config
	links *link.Links
	zone  *dns.Zone

	mu       sync.Mutex // held by Apply from start to end
	stacks   []*stack   // by family, as Config.Networks
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice // by service, slice
	sliceOf  map[types.NamespacedName]string                                // slice → service's name
	nodes    map[string]*corev1.Node
	peers    map[string]link.Peer
	health   *health.Server
	proxy    *proxy.Proxy
	front    front
	policies map[types.NamespacedName]*networkingv1.NetworkPolicy
	parts    map[types.NamespacedName]*peers.Part // by group, node
	addrs    map[netip.Addr]bool                  // of all nodes
	based    bool                                 // base is done

	nodesPending bool   // applyNodes did not succeed
	zoneName     string // of this node; empty: none
	floats       floats
	tenants      tenants
	seal         seal
	chain        *chain.Chain

	extras        map[types.NamespacedName][]netip.Addr // cluster IPs outside of the service networks, by service
	extrasPending bool                                  // their routes are not as they should be

	podsMu  sync.Mutex // pods are read by CNI calls while Apply writes to the kernel
	pods    map[types.NamespacedName]*corev1.Pod
	settled map[types.NamespacedName]*corev1.Pod // those whose rules the kernel has
	changed chan struct{}                        // closed at the next change of settled or subnet
	ready   bool                                 // the subnet is known
}

// stack is one address family's part of the network. Each has its own table in the
// kernel, compiled from the same rules.
type stack struct {
	Network
	table  *nft.Table
	pools  *balance.Table
	policy *filter.Table
	subnet netip.Prefix                        // of this node's pods; invalid: not known yet
	built  bool                                // the kernel's table is what pools said last
	asking map[types.NamespacedName]netip.Addr // of pods with a view of DNS
}

// New returns the network of the calling thread's network namespace. It touches
// nothing yet.
func New(cfg Config) (*Dataplane, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	links, err := link.Open(cfg.Bridge)
	if err != nil {
		return nil, err
	}
	var stacks []*stack
	var ranges []netip.Prefix
	for _, n := range cfg.Networks {
		table, err := nft.Open(int(links.NS()), cfg.Bridge, n.v6())
		if err != nil {
			links.Close()
			return nil, err
		}
		stacks = append(stacks, &stack{Network: n, table: table, pools: balance.NewTable(), policy: filter.NewTable(n.v6()), asking: map[types.NamespacedName]netip.Addr{}})
		ranges = append(ranges, n.Pods, n.Services)
	}
	zone := dns.NewZone(cfg.Domain, ranges...)
	zone.Partial(true)
	listen := func(port int32) (l net.Listener, err error) {
		err = links.Do(func() error {
			l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
			return err
		})
		return l, err
	}
	d := &Dataplane{
		health: health.New(listen, cfg.Log),
		cfg:    cfg, links: links, stacks: stacks, zone: zone, addrs: map[netip.Addr]bool{},
		services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		sliceOf:  map[types.NamespacedName]string{}, nodes: map[string]*corev1.Node{}, peers: map[string]link.Peer{},
		policies: map[types.NamespacedName]*networkingv1.NetworkPolicy{}, parts: map[types.NamespacedName]*peers.Part{},
		pods: map[types.NamespacedName]*corev1.Pod{}, settled: map[types.NamespacedName]*corev1.Pod{}, extras: map[types.NamespacedName][]netip.Addr{},
		floats: newFloats(), tenants: newTenants(zone), seal: newSeal(&cfg, links), changed: make(chan struct{}),
		chain: chain.New(chain.Config{ConfDir: cfg.Plugins.ConfDir, BinDirs: cfg.Plugins.BinDirs, Dir: chainDir(cfg.Root), Within: links.Do}),
	}
	d.proxy = proxy.New(proxy.Config{Listen: listen, Closed: d.frontClosed, AccessLog: cfg.AccessLog, Log: cfg.Log})
	return d, nil
}

// WriteMetrics writes the figures of ingress in Prometheus' text format.
func (d *Dataplane) WriteMetrics(w io.Writer) { d.proxy.WriteMetrics(w) }

// Run answers DNS, the CNI plugin, health checks and ingress until ctx ends. What the kernel holds stays.
func (d *Dataplane) Run(ctx context.Context) error {
	d.mu.Lock()
	err := d.base()
	d.mu.Unlock()
	if err != nil {
		return err
	}
	calls, err := listenUnix(d.socket())
	if err != nil {
		return err
	}
	defer calls.Close()
	server := &dns.Server{
		Zone: d.zone, Log: d.cfg.Log,
		Resolver: dns.NewResolver(dns.ResolverConfig{Upstream: d.cfg.Upstream, Stubs: d.cfg.Stubs, Log: d.cfg.Log}),
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range d.cfg.Networks {
		g.Go(func() error {
			packets, streams, err := d.listenDNS(n.DNS)
			if err != nil {
				return err
			}
			return server.Serve(ctx, packets, streams)
		})
	}
	g.Go(func() error { return d.serveCalls(ctx, calls) })
	g.Go(func() error { return d.health.Run(ctx) })
	g.Go(func() error { return d.proxy.Run(ctx) })
	g.Go(func() error { return d.seal.process.Run(ctx) })
	g.Go(func() error { return d.runSeal(ctx) })
	return g.Wait()
}

// Traffic returns what the pods of this node have received and sent, by "namespace/name".
func (d *Dataplane) Traffic() (map[string]link.Traffic, error) { return d.links.Traffic() }

func (d *Dataplane) socket() string { return filepath.Join(d.cfg.Root, "cni.sock") }

func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing an old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening for the CNI plugin: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("guarding the CNI socket: %w", err)
	}
	return l, nil
}

func (d *Dataplane) listenDNS(at netip.Addr) (packets net.PacketConn, streams net.Listener, err error) {
	addr := netip.AddrPortFrom(at, 53).String()
	err = d.links.Do(func() error {
		if packets, err = net.ListenPacket("udp", addr); err != nil {
			return err
		}
		if streams, err = net.Listen("tcp", addr); err != nil {
			packets.Close()
		}
		return err
	})
	if err != nil {
		return nil, nil, &kind.Error{Kind: kind.Unavailable, Op: "listening for DNS (stop what has port 53: `ss -lnp sport = 53`)", Err: err}
	}
	return packets, streams, nil
}

// base makes what needs no object: the link with our addresses, and the settings.
// It needs d.mu.
func (d *Dataplane) base() error {
	if d.based {
		return nil
	}
	for _, n := range d.cfg.Networks {
		if err := d.links.Anchor(n.DNS); err != nil {
			return err
		}
	}
	if err := d.settings(); err != nil {
		return err
	}
	if d.byPlugins() {
		if err := d.chain.Use(); err != nil {
			return err
		}
	}
	d.based = true
	return nil
}
