package server

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"trireme/internal/api/kube/auditlog"
	"trireme/internal/api/kube/identity"
	"trireme/internal/kind"
)

// Version is the release, set by the linker.
var Version = "dev"

// Config is everything a process of the cluster can be told. Zero values mean
// the default in brackets; Default returns them filled in.
type Config struct {
	Root string `json:"root"` // state folder [/var/lib/trireme]
	Node string `json:"node"` // this machine's name in the cluster [host name]
	// Address is where other machines reach this one [the address of the default
	// route, 127.0.0.1 without one].
	Address string `json:"address"`

	Manager ManagerConfig `json:"manager"`
	Agent   AgentConfig   `json:"agent"`

	PodCIDR     string `json:"podCIDR"`     // addresses of pods, a /24 a node [10.128.0.0/10]
	ServiceCIDR string `json:"serviceCIDR"` // addresses of services [10.96.0.0/12]
	Domain      string `json:"domain"`      // of cluster DNS [cluster.local]

	Log *slog.Logger `json:"-"`
}

// ManagerConfig is what a manager is told.
type ManagerConfig struct {
	Enabled      bool   `json:"enabled"`
	APIListen    string `json:"apiListen"`    // Kubernetes API [:6443]
	AgentListen  string `json:"agentListen"`  // sessions of agents [:6444]
	NodePortMin  int32  `json:"nodePortMin"`  // [30000]
	NodePortMax  int32  `json:"nodePortMax"`  // [32767]
	UnsafeNoSync bool   `json:"unsafeNoSync"` // do not fsync: for experiments only
	// Grace is how long a silent node counts as alive [15s].
	Grace Duration `json:"grace"`
	// Audit is what is written down of requests to the API [nothing].
	Audit auditlog.Config `json:"audit"`
	// RequestsMax and MutatingMax are, together, how many requests the API works on at
	// a time; priority levels share them [400 and 200].
	RequestsMax int `json:"requestsMax"`
	MutatingMax int `json:"mutatingMax"`
	// Authentication says whose word about callers is taken [nobody's].
	Authentication identity.Config `json:"authentication"`
}

// AgentConfig is what a node is told.
type AgentConfig struct {
	Enabled     bool     `json:"enabled"`
	Listen      string   `json:"listen"`      // logs, exec, images [:10250]
	Managers    []string `json:"managers"`    // agent listeners of the managers; empty: the one in this process
	Token       string   `json:"-"`           // join token; empty where a certificate is there
	CRIEndpoint string   `json:"criEndpoint"` // an existing runtime's socket; empty: our own containerd
	// Runtime runs the containers: "cri" asks containerd for it, "native" does it
	// here, with containerd for images only [cri].
	Runtime string            `json:"runtime"`
	Labels  map[string]string `json:"labels"`
	PodsMax int               `json:"podsMax"` // [110]
	Bridge  string            `json:"bridge"`  // the pod network's link [trireme0]
	// BackOffMin is the first pause before a crashed container is started again [10s].
	BackOffMin Duration `json:"backOffMin"`
}

// The values of AgentConfig.Runtime.
const (
	RuntimeCRI    = "cri"
	RuntimeNative = "native"
)

// Duration is a time.Duration that reads and writes as "15s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Default returns the configuration of a machine that is a whole cluster.
func Default() Config {
	return Config{
		Root: "/var/lib/trireme", PodCIDR: "10.128.0.0/10", ServiceCIDR: "10.96.0.0/12", Domain: "cluster.local",
		Manager: ManagerConfig{
			Enabled: true, APIListen: ":6443", AgentListen: ":6444",
			NodePortMin: 30000, NodePortMax: 32767, Grace: Duration(15 * time.Second),
			Audit: auditlog.Config{LogMaxMiB: 100, LogBackups: 10}, Authentication: identity.Default(),
			RequestsMax: 400, MutatingMax: 200,
		},
		Agent: AgentConfig{Enabled: true, Listen: ":10250", Runtime: RuntimeCRI, PodsMax: 110, Bridge: "trireme0", BackOffMin: Duration(10 * time.Second)},
	}
}

// Complete fills in what depends on this machine: its name and address.
func (c *Config) Complete() error {
	if c.Node == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("finding this machine's name: %w (give one with --node)", err)
		}
		c.Node = strings.ToLower(name)
	}
	if c.Address == "" {
		c.Address = defaultAddress()
	}
	return c.validate()
}

func (c *Config) validate() error {
	for _, f := range []struct{ field, value string }{{"podCIDR", c.PodCIDR}, {"serviceCIDR", c.ServiceCIDR}} {
		p, err := netip.ParsePrefix(f.value)
		if err != nil || !p.Addr().Is4() || p.Masked() != p {
			return invalid(f.field, "%q is not an IPv4 network such as 10.128.0.0/10", f.value)
		}
		if p.Bits() > 23 {
			return invalid(f.field, "%s is too small: a /23 or larger is needed", f.value)
		}
	}
	if netip.MustParsePrefix(c.PodCIDR).Overlaps(netip.MustParsePrefix(c.ServiceCIDR)) {
		return invalid("podCIDR", "%s overlaps serviceCIDR %s", c.PodCIDR, c.ServiceCIDR)
	}
	if _, err := netip.ParseAddr(c.Address); err != nil {
		return invalid("address", "%q is not an IP address", c.Address)
	}
	if !filepath.IsAbs(c.Root) {
		return invalid("root", "%q is not an absolute path", c.Root)
	}
	switch r := c.Agent.Runtime; {
	case r != RuntimeCRI && r != RuntimeNative:
		return invalid("agent.runtime", "%q is neither %s nor %s", r, RuntimeCRI, RuntimeNative)
	case r == RuntimeNative && c.Agent.CRIEndpoint != "":
		return invalid("agent.runtime", "%s needs Trireme's own containerd: leave --cri-endpoint out, or say --runtime %s", r, RuntimeCRI)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Manager.RequestsMax < 0 || c.Manager.MutatingMax < 0 || c.Manager.RequestsMax+c.Manager.MutatingMax == 0 {
		return invalid("manager.requestsMax", "--max-requests-inflight %d and --max-mutating-requests-inflight %d: the API must work on one request at a time at least",
			c.Manager.RequestsMax, c.Manager.MutatingMax)
	}
	if !c.Manager.Enabled && len(c.Agent.Managers) == 0 {
		return invalid("agent.managers", "a machine that is no manager must be told where one is: trireme join --token TOKEN ADDRESS")
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return &kind.Error{Kind: kind.Invalid, Field: field, Err: fmt.Errorf(format, args...)}
}

// defaultAddress asks the kernel which address it would send from; nothing is
// sent.
func defaultAddress() string {
	c, err := net.Dial("udp4", "192.0.2.1:9")
	if err != nil {
		return "127.0.0.1"
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).IP.String()
}

// serviceAddress returns the n-th address of the service network.
func (c *Config) serviceAddress(n int) netip.Addr {
	a := netip.MustParsePrefix(c.ServiceCIDR).Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// The places under the root that others need to know.

// KubeconfigPath returns where the administrator's kubeconfig is.
func (c *Config) KubeconfigPath() string { return filepath.Join(c.Root, "admin.kubeconfig") }

func (c *Config) path(elem ...string) string {
	return filepath.Join(append([]string{c.Root}, elem...)...)
}

// ports returns the ports that the cluster itself has on every node.
func (c *Config) ports() []int32 {
	var ports []int32
	for _, addr := range []string{c.Manager.APIListen, c.Manager.AgentListen, c.Agent.Listen} {
		_, p, err := net.SplitHostPort(addr)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(p, 10, 32); err == nil {
			ports = append(ports, int32(n))
		}
	}
	return ports
}
