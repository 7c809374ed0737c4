package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/balance"
	"trireme/internal/dataplane/dns"
	"trireme/internal/dataplane/link"
	"trireme/internal/dataplane/nft"
	"trireme/internal/kind"
)

// Config configures a Dataplane.
type Config struct {
	Node                 string       // this node's name. Required
	NodeIP               netip.Addr   // where peers reach it, IPv4. Required
	Root                 string       // the node's state folder. Required
	PodCIDR, ServiceCIDR netip.Prefix // of the cluster, IPv4. Required
	DNS                  netip.Addr   // the cluster's DNS address. Required
	Domain               string       // empty: "cluster.local"
	Upstream             []string     // resolvers, "ADDR:PORT"; nil: those of /etc/resolv.conf
	Bridge               string       // link and table name, at most 12 letters; empty: DefaultBridge
	Log                  *slog.Logger // nil: nothing is logged
}

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
	if c.Upstream == nil {
		c.Upstream = dns.Resolvers("/etc/resolv.conf", c.DNS.String())
	}
	switch {
	case c.Node == "" || c.Root == "":
		return kind.New(kind.Invalid, "the dataplane needs a node name and a root folder")
	case !c.NodeIP.Is4() || !c.DNS.Is4():
		return kind.New(kind.Invalid, "node address %v and DNS address %v must be IPv4", c.NodeIP, c.DNS)
	case !c.PodCIDR.Addr().Is4() || !c.ServiceCIDR.Addr().Is4():
		return kind.New(kind.Invalid, "pod network %v and service network %v must be IPv4", c.PodCIDR, c.ServiceCIDR)
	case len(c.Bridge) > 12:
		return kind.New(kind.Invalid, "link name %q is longer than 12 letters", c.Bridge)
	}
	return nil
}

// Dataplane is one node's network.
type Dataplane struct {
	cfg   Config
	links *link.Links
	zone  *dns.Zone

	mu       sync.Mutex // held by Apply from start to end
	table    *nft.Table
	pools    *balance.Table
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice // by service, slice
	sliceOf  map[types.NamespacedName]string                                // slice → service's name
	nodes    map[string]*corev1.Node
	peers    map[string]link.Peer
	subnet   netip.Prefix // of this node's pods; invalid: not known yet
	based    bool         // base is done
	built    bool         // the kernel's table is what pools said last

	nodesPending bool // applyNodes did not succeed

	podsMu  sync.Mutex // pods are read by CNI calls while Apply writes to the kernel
	pods    map[types.NamespacedName]*corev1.Pod
	changed chan struct{} // closed at the next change of pods or subnet
	ready   bool          // the subnet is known
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
	table, err := nft.Open(int(links.NS()), cfg.Bridge)
	if err != nil {
		links.Close()
		return nil, err
	}
	return &Dataplane{
		cfg: cfg, links: links, table: table, zone: dns.NewZone(cfg.Domain, cfg.PodCIDR, cfg.ServiceCIDR),
		pools: balance.NewTable(), services: map[types.NamespacedName]*corev1.Service{},
		slices:  map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		sliceOf: map[types.NamespacedName]string{}, nodes: map[string]*corev1.Node{}, peers: map[string]link.Peer{},
		pods: map[types.NamespacedName]*corev1.Pod{}, changed: make(chan struct{}),
	}, nil
}

// Run answers DNS and the CNI plugin until ctx ends. What the kernel holds stays.
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
	packets, streams, err := d.listenDNS()
	if err != nil {
		return err
	}
	server := &dns.Server{Zone: d.zone, Upstream: d.cfg.Upstream, Log: d.cfg.Log}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Serve(ctx, packets, streams) })
	g.Go(func() error { return d.serveCalls(ctx, calls) })
	return g.Wait()
}

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

func (d *Dataplane) listenDNS() (packets net.PacketConn, streams net.Listener, err error) {
	addr := netip.AddrPortFrom(d.cfg.DNS, 53).String()
	err = d.links.Do(func() error {
		if packets, err = net.ListenPacket("udp4", addr); err != nil {
			return err
		}
		if streams, err = net.Listen("tcp4", addr); err != nil {
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
	if err := d.settings(); err != nil {
		return err
	}
	if err := d.links.Anchor(d.cfg.DNS); err != nil {
		return err
	}
	d.based = true
	return nil
}
