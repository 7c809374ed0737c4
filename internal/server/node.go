package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/internal/agent"
	"trireme/internal/agent/provider"
	"trireme/internal/agent/sysctl"
	"trireme/internal/bundle"
	"trireme/internal/dataplane"
	"trireme/internal/object/swarm"
	"trireme/internal/runtime/containerd"
	"trireme/internal/wire"
)

// node is the node's half of a process.
type node struct {
	cfg   Config
	issue func(ctx context.Context) (tls.Certificate, *x509.CertPool, error)
	mesos net.Listener // of Mesos' agent API; nil: there is none

	mu       sync.Mutex
	managers []string // agent listeners of the managers
	cert     tls.Certificate
	pool     *x509.CertPool
}

// newNode returns the node's half; m is the manager of the same process, or nil.
func newNode(cfg Config, m *manager) (*node, error) {
	n := &node{cfg: cfg, managers: cfg.Agent.Managers}
	var err error
	if n.mesos, err = openPort(cfg.Log, "Mesos agent API", "--mesos-agent-listen", cfg.Agent.MesosListen, defaultMesosAgentListen); err != nil {
		return nil, err
	}
	hosts := append(cfg.hosts(), cfg.Node, "127.0.0.1")
	if m != nil {
		_, port, err := net.SplitHostPort(m.agents.Addr().String())
		if err != nil {
			return nil, err
		}
		n.managers = []string{net.JoinHostPort(cfg.address(), port)}
		n.cfg.Agent.Labels = maps.Clone(cfg.Agent.Labels)
		if n.cfg.Agent.Labels == nil {
			n.cfg.Agent.Labels = map[string]string{}
		}
		n.cfg.Agent.Labels[swarm.ManagerLabel] = "" // kubectl get nodes shows it as a role
		n.issue = func(context.Context) (tls.Certificate, *x509.CertPool, error) {
			c, err := m.pki.Issue(wire.Leaf{Name: wire.NodePrefix + cfg.Node, Group: wire.NodesGroup, Hosts: hosts})
			return c, m.pki.Pool(), err
		}
		return n, nil
	}
	n.issue = func(ctx context.Context) (tls.Certificate, *x509.CertPool, error) { return n.join(ctx, hosts) }
	return n, n.recall()
}

// Run runs the node until ctx ends. Its containers go on after that.
func (n *node) Run(ctx context.Context) error {
	cert, pool, err := n.issue(ctx)
	if err != nil {
		return err
	}
	n.cert, n.pool = cert, pool
	g, ctx := errgroup.WithContext(ctx)
	files, err := bundle.Extract(ctx, n.cfg.path("bundle"))
	if err != nil {
		return err
	}
	endpoint, err := n.containerd(ctx, g, files)
	if err != nil {
		return errors.Join(err, stop(g, ctx))
	}
	upstream, stubs, err := n.cfg.Agent.DNS.parse()
	if err != nil {
		return errors.Join(err, stop(g, ctx))
	}
	access, err := openAccessLog(n.cfg.Agent.IngressAccessLog)
	if err != nil {
		return errors.Join(err, stop(g, ctx))
	}
	var announce atomic.Pointer[agent.Agent]
	dp, err := dataplane.New(dataplane.Config{
		Node: n.cfg.Node, NodeIPs: n.cfg.addresses(), Root: n.cfg.Root, Networks: n.cfg.networks(), Domain: n.cfg.Domain, Bridge: n.cfg.Agent.Bridge, Log: n.cfg.Log,
		Upstream: upstream, Stubs: stubs, Tunnel: filepath.Join(files.Bin, "trireme-tunnel"), KeyLife: time.Duration(n.cfg.Agent.OverlayKeyLife),
		Announce:  func() { announce.Load().Announce() }, // the agent alone applies, so it is there
		Plugins:   dataplane.Plugins{ConfDir: n.cfg.Agent.CNIConfDir, BinDirs: n.cfg.Agent.pluginDirs(files.CNI)},
		AccessLog: access, Warn: func(reason, message string) { announce.Load().Warn(reason, message) },
	})
	if err != nil {
		return errors.Join(err, stop(g, ctx))
	}
	rt, err := n.runtime(ctx, g, parts{endpoint, files, dp})
	if err != nil {
		return errors.Join(err, stop(g, ctx))
	}
	eviction, err := n.cfg.Agent.Eviction.Parse()
	reserved, err2 := n.cfg.Agent.reserved()
	sysctls, err3 := sysctl.Parse(n.cfg.Agent.AllowedUnsafeSysctls)
	if err = errors.Join(err, err2, err3); err != nil {
		return errors.Join(err, stop(g, ctx))
	}
	a, err := agent.New(agent.Config{
		Node: n.cfg.Node, Root: n.cfg.Root, NodeIPs: n.cfg.addresses(), Managers: n.known(), Learn: n.learn,
		TLS: n.clientTLS, ServerTLS: n.serverTLS(), Listen: n.cfg.Agent.Listen, Runtime: rt, Network: dp,
		PauseImage: bundle.PauseImage, RegistryDir: n.registries(), ClusterDNS: n.cfg.serviceAddress(10).String(), ClusterDomain: n.cfg.Domain,
		Labels: n.cfg.Agent.Labels, MaxPods: n.cfg.Agent.PodsMax, BackOffMin: time.Duration(n.cfg.Agent.BackOffMin), Eviction: eviction,
		Reserved: reserved, Ingress: n.cfg.Agent.Ingress, ExclusiveCPUs: n.cfg.Agent.CPUManagerPolicy == policyStatic, LimitedSwap: n.cfg.Agent.SwapBehavior == swapLimited, StaticPods: n.cfg.Agent.StaticPods, KubeletDir: n.cfg.Agent.KubeletDir, DevicePlugins: n.cfg.path("device-plugins"),
		PodResources: n.cfg.path("pod-resources", "kubelet.sock"), Plugins: n.plugins(dp),
		Metrics: dp.WriteMetrics, Log: n.cfg.Log,
		Mesos: n.mesos, Release: Version,
		Sysctls: sysctls, PullsMax: n.cfg.Agent.Pulls.max(),
		CredentialProviders: provider.Config{Path: n.cfg.Agent.Pulls.ProviderConfig, BinDir: n.cfg.Agent.Pulls.ProviderBinDir},
	})
	if err != nil {
		return errors.Join(err, stop(g, ctx))
	}
	announce.Store(a)
	g.Go(func() error { return dp.Run(ctx) })
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error { return n.renew(ctx) })
	return g.Wait()
}

// plugins says whether the user's CNI plugins can attach pods; nil: pods are Trireme's to
// attach.
func (n *node) plugins(dp *dataplane.Dataplane) func(context.Context) error {
	if n.cfg.Agent.CNIConfDir == "" {
		return nil
	}
	return dp.Ready
}

// containerd starts our own containerd, or names the runtime that was
// configured, and returns its endpoint.
func (n *node) containerd(ctx context.Context, g *errgroup.Group, files bundle.Paths) (endpoint string, err error) {
	if n.cfg.Agent.CRIEndpoint != "" {
		return n.cfg.Agent.CRIEndpoint, nil
	}
	c, err := containerd.New(containerd.Config{
		Root: n.cfg.Root, BinDir: files.Bin, CNIBinDirs: n.cfg.Agent.pluginDirs(files.CNI), CNIConfDir: cmp.Or(n.cfg.Agent.CNIConfDir, n.cfg.path("cni", "net.d")),
		PauseImage: bundle.PauseImage, Images: files.Images, RegistryDir: n.registries(), Log: n.cfg.Log,
	})
	if err != nil {
		return "", err
	}
	g.Go(func() error { return c.Run(ctx) })
	return c.Endpoint(), c.WaitReady(ctx)
}

// registries is where our own containerd finds how to reach registries, empty
// where another runtime is used.
func (n *node) registries() string {
	if n.cfg.Agent.CRIEndpoint != "" {
		return ""
	}
	return n.cfg.path("agent", "registries")
}

// The files of a node's identity, below Root/agent/pki.
const (
	certFile = "node.crt"
	keyFile  = "node.key"
	caFile   = "ca.crt"
)

// join returns the identity this machine has, or asks for one with the token.
func (n *node) join(ctx context.Context, hosts []string) (tls.Certificate, *x509.CertPool, error) {
	dir := n.cfg.path("agent", "pki")
	cert, pool, err := loadIdentity(dir)
	if err == nil && time.Until(cert.Leaf.NotAfter) > 0 {
		return cert, pool, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cert, nil, fmt.Errorf("reading this node's identity in %s: %w", dir, err)
	}
	token, err := wire.ParseToken(n.cfg.Agent.Token)
	if err != nil {
		return cert, nil, err
	}
	for _, addr := range n.known() {
		var ca *x509.Certificate
		if cert, ca, err = wire.Join(ctx, addr, token, n.cfg.Node, hosts); err == nil {
			pool = x509.NewCertPool()
			pool.AddCert(ca)
			return cert, pool, saveIdentity(dir, cert, ca.Raw)
		}
		err = fmt.Errorf("joining through %s: %w", addr, err)
	}
	return cert, nil, err
}

// managersFile holds which managers there were at the last session, below Root/agent.
const managersFile = "managers"

// recall adds the managers that the node was told of to those that it is configured with.
func (n *node) recall() error {
	b, err := os.ReadFile(n.cfg.path("agent", managersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading which managers there are: %w", err)
	}
	for _, m := range strings.Fields(string(b)) {
		if !slices.Contains(n.managers, m) {
			n.managers = append(n.managers, m)
		}
	}
	return nil
}

// learn notes which managers there are.
func (n *node) learn(told []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range told {
		if !slices.Contains(n.managers, m) {
			n.managers = append(n.managers, m)
		}
	}
	path := n.cfg.path("agent", managersFile)
	err := os.WriteFile(path+".new", []byte(strings.Join(told, "\n")+"\n"), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		n.cfg.Log.Warn("keeping which managers there are", "err", err)
	}
}

// known returns the managers to try.
func (n *node) known() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.managers)
}

func loadIdentity(dir string) (tls.Certificate, *x509.CertPool, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return cert, nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return cert, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return cert, nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return cert, pool, nil
}

func saveIdentity(dir string, cert tls.Certificate, ca []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keeping this node's identity: %w", err)
	}
	key, err := wire.KeyPEM(cert.PrivateKey)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{caFile, wire.CertPEM(tls.Certificate{Certificate: [][]byte{ca}})}, {keyFile, key}, {certFile, wire.CertPEM(cert)}} {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.data, 0o600); err != nil {
			return fmt.Errorf("keeping this node's identity: %w", err)
		}
	}
	return nil
}

// renewEvery is how often the age of the certificate is looked at.
const renewEvery = time.Hour

// renew replaces the node's certificate when a third of its life is left.
func (n *node) renew(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		n.mu.Lock()
		leaf := n.cert.Leaf
		n.mu.Unlock()
		if time.Until(leaf.NotAfter) > leaf.NotAfter.Sub(leaf.NotBefore)/3 {
			continue
		}
		if err := n.renewOnce(ctx); err != nil {
			n.cfg.Log.Error("renewing the node's certificate", "err", err, "until", leaf.NotAfter)
		}
	}
}

func (n *node) renewOnce(ctx context.Context) error {
	hosts := append(n.cfg.hosts(), n.cfg.Node, "127.0.0.1")
	var err error
	for _, addr := range n.known() {
		var cert tls.Certificate
		var ca *x509.Certificate
		if cert, ca, err = wire.Renew(ctx, addr, n.clientTLS(), hosts); err != nil {
			continue
		}
		n.mu.Lock()
		n.cert = cert
		n.mu.Unlock()
		return saveIdentity(n.cfg.path("agent", "pki"), cert, ca.Raw)
	}
	return err
}

func (n *node) clientTLS() *tls.Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	return wire.ClientTLS(n.cert, n.pool)
}

// serverTLS is what the agent's HTTPS serves with: always the newest certificate.
func (n *node) serverTLS() *tls.Config {
	c := wire.ServerTLS(n.cert, n.pool, true)
	c.Certificates = nil
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		cert := n.cert
		return &cert, nil
	}
	return c
}
