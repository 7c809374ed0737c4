package server

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/host"
	"trireme/internal/agent/pressure"
	"trireme/internal/agent/sysctl"
	"trireme/internal/api/kube/auditlog"
	"trireme/internal/api/kube/identity"
	"trireme/internal/certify/acme"
	"trireme/internal/dataplane"
	"trireme/internal/dataplane/dns"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/schedule/profile"
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

	// PodCIDR and ServiceCIDR may name a second network, of the other family, after a comma.
	PodCIDR     string `json:"podCIDR"`     // addresses of pods, a /24 or a /64 a node [10.128.0.0/10]
	ServiceCIDR string `json:"serviceCIDR"` // addresses of services [10.96.0.0/12]
	Domain      string `json:"domain"`      // of cluster DNS [cluster.local]

	Log *slog.Logger `json:"-"`
}

// ManagerConfig is what a manager is told.
type ManagerConfig struct {
	Enabled bool `json:"enabled"`
	// Join are agent listeners of managers whose cluster this one joins as a manager, with Token,
	// at its first start [none: it begins a cluster].
	Join  []string `json:"join,omitempty"`
	Token string   `json:"-"`
	// Alone makes this manager, at this start, the only one of its cluster.
	Alone       bool   `json:"-"`
	APIListen   string `json:"apiListen"`   // Kubernetes API [:6443]
	AgentListen string `json:"agentListen"` // sessions of agents [:6444]
	// PeerListen and RelayListen are where other managers reach this one: its log, and what
	// clients said to them while this one leads; "none": it is the only manager [:6445 and :6446,
	// unless another process has them].
	PeerListen  string `json:"peerListen"`
	RelayListen string `json:"relayListen"`
	// DockerSocket is the path of the socket of the Docker API, which only root can open;
	// "none": there is none [/run/trireme/docker.sock; docker.sock below another Root].
	DockerSocket string `json:"dockerSocket"`
	// DockerListen is the address of the Docker API for who shows a client certificate or
	// a token; "none": there is none [:2376].
	DockerListen string `json:"dockerListen"`
	// MesosListen is the address of the Mesos API; "none": there is none [:5050, unless another
	// process has it].
	MesosListen string `json:"mesosListen"`
	// MarathonListen is the address of the Marathon API; "none": there is none [:8080, unless
	// another process has it].
	MarathonListen string `json:"marathonListen"`
	// ZooKeeperListen is where ZooKeeper's clients find the leading Mesos master, at /mesos;
	// "none": nowhere [none].
	ZooKeeperListen string `json:"zookeeperListen"`
	// MesosAnonymous is as which user those are taken who show nothing to the APIs of Mesos
	// and Marathon: USER[,GROUP...] [they are refused].
	MesosAnonymous string `json:"mesosAnonymous"`
	NodePortMin    int32  `json:"nodePortMin"`  // [30000]
	NodePortMax    int32  `json:"nodePortMax"`  // [32767]
	UnsafeNoSync   bool   `json:"unsafeNoSync"` // do not fsync: for experiments only
	// Grace is how long a silent node counts as alive [15s].
	Grace Duration `json:"grace"`
	// OfferTimeout is after how long an offer that a framework does not answer is rescinded [60s].
	OfferTimeout Duration `json:"offerTimeout"`
	// SchedulerConfig is a file of kind KubeSchedulerConfiguration, kubescheduler.config.k8s.io/v1, that says how the
	// pods of each scheduler's name are placed [spread by room].
	SchedulerConfig string `json:"schedulerConfig"`
	profiles        []profile.Profile
	// MesosAgentTimeout is for how long a node is silent before frameworks are told that its
	// agent is unreachable [75s].
	MesosAgentTimeout Duration `json:"mesosAgentTimeout"`
	// EncryptOverlay is whether all nodes encrypt what their pods say to those of others;
	// nothing said: they go on as before [clear in a new cluster].
	EncryptOverlay *bool `json:"encryptOverlay,omitempty"`
	// Audit is what is written down of requests to the API [nothing].
	Audit auditlog.Config `json:"audit"`
	// RequestsMax and MutatingMax are, together, how many requests the API works on at
	// a time; priority levels share them [400 and 200].
	RequestsMax int `json:"requestsMax"`
	MutatingMax int `json:"mutatingMax"`
	// Authentication says whose word about callers is taken [nobody's].
	Authentication identity.Config `json:"authentication"`
	// ACME is the server that ingresses may have certificates of [Let's Encrypt].
	ACME acme.Settings `json:"acme"`
}

// AgentConfig is what a node is told.
type AgentConfig struct {
	Enabled bool   `json:"enabled"`
	Listen  string `json:"listen"` // logs, exec, images [:10250]
	// MesosListen is the address of Mesos' agent API; "none": there is none [:5051, unless
	// another process has it].
	MesosListen string   `json:"mesosAgentListen"`
	Managers    []string `json:"managers"`    // agent listeners of the managers; empty: the one in this process
	Token       string   `json:"-"`           // join token; empty where a certificate is there
	CRIEndpoint string   `json:"criEndpoint"` // an existing runtime's socket; empty: our own containerd
	// Runtime runs the containers: "cri" asks containerd for it, "native" does it
	// here, with containerd for images only [cri].
	Runtime string            `json:"runtime"`
	Labels  map[string]string `json:"labels"`
	PodsMax int               `json:"podsMax"` // [110]
	Bridge  string            `json:"bridge"`  // the pod network's link [trireme0]
	// CNIConfDir is a directory of CNI network configurations, the first of which attaches
	// this node's pods and gives them their addresses [none: Trireme does].
	CNIConfDir string `json:"cniConfDir"`
	// CNIBinDir is where its plugins are [/opt/cni/bin].
	CNIBinDir string    `json:"cniBinDir"`
	DNS       DNSConfig `json:"dns"`
	// Ingress is whether this node answers for ingresses, on ports 80 and 443 while there
	// are any [true].
	Ingress bool `json:"ingress"`
	// IngressAccessLog is where the requests of ingress are written down as JSON lines;
	// "-" is standard output [nowhere].
	IngressAccessLog string `json:"ingressAccessLog"`
	// Eviction says when pods go because the node runs short [as a kubelet's].
	Eviction pressure.Config `json:"eviction"`
	// SystemReserved and KubeReserved are what of the node no pod may have, for the
	// system and for Trireme: cpu, memory, ephemeral-storage, pid [nothing].
	SystemReserved map[string]string `json:"systemReserved"`
	KubeReserved   map[string]string `json:"kubeReserved"`
	// CPUManagerPolicy is "static" where Guaranteed pods that ask for whole CPUs have
	// them to themselves, else "none"; static needs some cpu reserved [none].
	CPUManagerPolicy string `json:"cpuManagerPolicy"`
	// SwapBehavior is "LimitedSwap" where containers of Burstable pods swap in proportion to
	// their memory requests, else "NoSwap" [NoSwap].
	SwapBehavior string `json:"swapBehavior"`
	// AllowedUnsafeSysctls are the kernel settings that pods may ask for beside the safe
	// ones; a * at the end stands for any end [none].
	AllowedUnsafeSysctls []string `json:"allowedUnsafeSysctls"`
	// StaticPods is a directory of manifests of pods that run without a manager [none].
	StaticPods string `json:"staticPods"`
	// KubeletDir is the directory that manifests of CSI drivers mount from their node.
	// What a pod mounts from there it gets from Root [/var/lib/kubelet].
	KubeletDir string `json:"kubeletDir"`
	// Pulls is how images are brought.
	Pulls PullsConfig `json:"pulls"`
	// OverlayKeyLife is how long the node's key is used where the overlay is encrypted [24h].
	OverlayKeyLife Duration `json:"overlayKeyLife"`
	// BackOffMin is the first pause before a crashed container is started again [10s].
	BackOffMin Duration `json:"backOffMin"`
}

// PullsConfig says how a node brings images, as a kubelet's options do.
type PullsConfig struct {
	// Serial brings one image at a time, ParallelMax at most so many; 0 and not Serial: as
	// many as pods want [no limit].
	Serial      bool `json:"serializeImagePulls"`
	ParallelMax int  `json:"maxParallelImagePulls"`
	// ProviderConfig says which programs of ProviderBinDir know registries' credentials: a
	// file of kind CredentialProviderConfig, or a directory of some [none].
	ProviderConfig string `json:"imageCredentialProviderConfig"`
	ProviderBinDir string `json:"imageCredentialProviderBinDir"`
}

func (c *PullsConfig) validate() error {
	switch {
	case c.ParallelMax < 0:
		return invalid("agent.pulls.maxParallelImagePulls", "%d is negative: give 0 for no limit", c.ParallelMax)
	case c.Serial && c.ParallelMax > 1:
		return invalid("agent.pulls.maxParallelImagePulls", "%d images cannot be pulled at a time with --serialize-image-pulls: leave one of both out", c.ParallelMax)
	case (c.ProviderConfig == "") != (c.ProviderBinDir == ""):
		return invalid("agent.pulls.imageCredentialProviderConfig", "--image-credential-provider-config and --image-credential-provider-bin-dir need each other: give both")
	}
	return nil
}

// max returns how many images are pulled at a time; 0: no limit.
func (c *PullsConfig) max() int {
	if c.Serial {
		return 1
	}
	return c.ParallelMax
}

// DNSConfig says whom the node's DNS asks for what is not the cluster's.
type DNSConfig struct {
	Upstream []string `json:"upstream"` // ADDRESS[:PORT]; empty: the resolvers of /etc/resolv.conf
	Stubs    []string `json:"stubs"`    // DOMAIN=ADDRESS[:PORT][,ADDRESS[:PORT]...]
}

// parse returns the resolvers as "ADDRESS:PORT", nil where none are given, and those of
// stub domains.
func (c *DNSConfig) parse() (upstream []string, stubs map[string][]string, err error) {
	for _, s := range c.Upstream {
		resolver, err := dns.ParseResolver(s)
		if err != nil {
			return nil, nil, invalid("agent.dns.upstream", "--dns-upstream: %v", err)
		}
		upstream = append(upstream, resolver)
	}
	stubs = map[string][]string{}
	for _, s := range c.Stubs {
		domain, resolvers, err := dns.ParseStub(s)
		if err != nil {
			return nil, nil, invalid("agent.dns.stubs", "--dns-stub: %v", err)
		}
		stubs[domain] = append(stubs[domain], resolvers...)
	}
	return upstream, stubs, nil
}

// The values of AgentConfig.Runtime.
const (
	RuntimeCRI    = "cri"
	RuntimeNative = "native"
)

// The values of AgentConfig.CPUManagerPolicy.
const (
	policyNone   = "none"
	policyStatic = "static"
)

// The values of AgentConfig.SwapBehavior, as in a kubelet's memorySwap.swapBehavior.
const (
	swapNone    = "NoSwap"
	swapLimited = "LimitedSwap"
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
			Enabled: true, APIListen: ":6443", AgentListen: ":6444", DockerListen: ":2376",
			NodePortMin: 30000, NodePortMax: 32767, Grace: Duration(15 * time.Second), OfferTimeout: Duration(time.Minute), MesosAgentTimeout: Duration(75 * time.Second),
			Audit: auditlog.Config{LogMaxMiB: 100, LogBackups: 10}, Authentication: identity.Default(), ACME: acme.Default(),
			RequestsMax: 400, MutatingMax: 200,
		},
		Agent: AgentConfig{Enabled: true, Listen: ":10250", KubeletDir: "/var/lib/kubelet", Runtime: RuntimeCRI, PodsMax: 110, CPUManagerPolicy: policyNone, SwapBehavior: swapNone, Bridge: "trireme0", Ingress: true, Eviction: pressure.Default(), OverlayKeyLife: Duration(dataplane.DefaultKeyLife), BackOffMin: Duration(10 * time.Second)},
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
		c.Address = defaultAddress(c.PodCIDR)
	}
	c.Manager.DockerSocket = c.DockerSocketPath()
	if err := c.Manager.readProfiles(); err != nil {
		return err
	}
	return c.validate()
}

func (c *Config) validate() error {
	if err := c.validateNetworks(); err != nil {
		return err
	}
	if !filepath.IsAbs(c.Root) {
		return invalid("root", "%q is not an absolute path", c.Root)
	}
	if zk := c.Manager.ZooKeeperListen; zk != "" && zk != noSocket && c.Manager.MesosListen == noSocket {
		return invalid("manager.zookeeperListen", "there is no Mesos master to tell of: leave out --zookeeper-listen, or --mesos-listen none")
	}
	reserved, err := c.Agent.reserved()
	if err != nil {
		return err
	}
	switch p := c.Agent.CPUManagerPolicy; {
	case p != policyNone && p != policyStatic:
		return invalid("agent.cpuManagerPolicy", "%q is neither %s nor %s", p, policyNone, policyStatic)
	case p == policyStatic && reserved.Cpu().IsZero():
		return invalid("agent.cpuManagerPolicy", "%s needs some cpu in --system-reserved or --kube-reserved", policyStatic)
	}
	if s := c.Agent.SwapBehavior; s != swapNone && s != swapLimited {
		return invalid("agent.swapBehavior", "%q is neither %s nor %s", s, swapNone, swapLimited)
	}
	if _, err := sysctl.Parse(c.Agent.AllowedUnsafeSysctls); err != nil {
		return invalid("agent.allowedUnsafeSysctls", "%w", err)
	}
	if p := c.Agent.StaticPods; p != "" && !filepath.IsAbs(p) {
		return invalid("agent.staticPods", "%q is not an absolute path", p)
	}
	if p := c.Agent.KubeletDir; p != "" && (!filepath.IsAbs(p) || filepath.Clean(p) == "/") {
		return invalid("agent.kubeletDir", "%q is not an absolute path below /", p)
	}
	if err := c.Agent.validatePlugins(); err != nil {
		return err
	}
	if _, err := c.Agent.Eviction.Parse(); err != nil {
		return invalid("agent.eviction", "%w", err)
	}
	switch r := c.Agent.Runtime; {
	case r != RuntimeCRI && r != RuntimeNative:
		return invalid("agent.runtime", "%q is neither %s nor %s", r, RuntimeCRI, RuntimeNative)
	case r == RuntimeNative && c.Agent.CRIEndpoint != "":
		return invalid("agent.runtime", "%s needs Trireme's own containerd: leave --cri-endpoint out, or say --runtime %s", r, RuntimeCRI)
	}
	if _, _, err := c.Agent.DNS.parse(); err != nil {
		return err
	}
	if err := c.Agent.Pulls.validate(); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Manager.RequestsMax < 0 || c.Manager.MutatingMax < 0 || c.Manager.RequestsMax+c.Manager.MutatingMax == 0 {
		return invalid("manager.requestsMax", "--max-requests-inflight %d and --max-mutating-requests-inflight %d: the API must work on one request at a time at least",
			c.Manager.RequestsMax, c.Manager.MutatingMax)
	}
	if err := c.Manager.ACME.Validate(); c.Manager.Enabled && err != nil {
		return err
	}
	if s := c.Manager.DockerSocket; s != noSocket && !filepath.IsAbs(s) {
		return invalid("manager.dockerSocket", "%q is neither an absolute path nor %s", s, noSocket)
	}
	if !c.Manager.Enabled && len(c.Agent.Managers) == 0 {
		return invalid("agent.managers", "a machine that is no manager must be told where one is: trireme join --token TOKEN ADDRESS")
	}
	return nil
}

// readProfiles reads how pods are placed.
func (c *ManagerConfig) readProfiles() error {
	if c.SchedulerConfig == "" || !c.Enabled {
		return nil
	}
	text, err := os.ReadFile(c.SchedulerConfig)
	if err == nil {
		c.profiles, err = profile.Parse(text)
	}
	if err != nil {
		return invalid("manager.schedulerConfig", "--scheduler-config %s: %w", c.SchedulerConfig, err)
	}
	return nil
}

// validatePlugins says what is wrong with the directories of CNI plugins. What they hold
// is looked at while the node runs: pods may bring it.
func (c *AgentConfig) validatePlugins() error {
	for _, dir := range []struct{ field, flag, path string }{
		{"agent.cniConfDir", "--cni-conf-dir", c.CNIConfDir}, {"agent.cniBinDir", "--cni-bin-dir", c.CNIBinDir},
	} {
		if dir.path != "" && !filepath.IsAbs(dir.path) {
			return invalid(dir.field, "%s: %q is not an absolute path", dir.flag, dir.path)
		}
	}
	if c.CNIBinDir != "" && c.CNIConfDir == "" {
		return invalid("agent.cniBinDir", "--cni-bin-dir says where the plugins are that --cni-conf-dir asks for: give both")
	}
	return nil
}

// pluginDirs returns where CNI plugins are looked for; own is where ours are.
func (c *AgentConfig) pluginDirs(own string) []string {
	if c.CNIConfDir == "" {
		return []string{own}
	}
	if c.CNIBinDir == "" {
		return []string{"/opt/cni/bin", own}
	}
	return []string{c.CNIBinDir, own}
}

// reserved returns what no pod may have.
func (c *AgentConfig) reserved() (corev1.ResourceList, error) {
	system, err := host.Reserve(c.SystemReserved)
	if err != nil {
		return nil, invalid("agent.systemReserved", "%w", err)
	}
	ours, err := host.Reserve(c.KubeReserved)
	if err != nil {
		return nil, invalid("agent.kubeReserved", "%w", err)
	}
	for name, q := range ours {
		sum := system[name]
		sum.Add(q)
		system[name] = sum
	}
	return system, nil
}

func invalid(field, format string, args ...any) error {
	return &kind.Error{Kind: kind.Invalid, Field: field, Err: fmt.Errorf(format, args...)}
}

// The places under the root that others need to know.

// KubeconfigPath returns where the administrator's kubeconfig is.
func (c *Config) KubeconfigPath() string { return filepath.Join(c.Root, "admin.kubeconfig") }

// overlay returns how nodes are to reach the pods of others; empty: as before.
func (c *ManagerConfig) overlay() string {
	switch {
	case c.EncryptOverlay == nil:
		return ""
	case *c.EncryptOverlay:
		return object.OverlayEncrypted
	}
	return object.OverlayClear
}

func (c *Config) path(elem ...string) string {
	return filepath.Join(append([]string{c.Root}, elem...)...)
}

// ports returns the ports that the cluster itself has on every node.
func (c *Config) ports() []int32 {
	var ports []int32
	for _, addr := range []string{c.Manager.APIListen, c.Manager.AgentListen, c.Manager.DockerListen, c.Manager.MesosListen, c.Manager.MarathonListen, c.Manager.ZooKeeperListen, c.Manager.PeerListen, c.Manager.RelayListen, c.Agent.Listen, c.Agent.MesosListen} {
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
