package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"trireme/internal/agent/pressure"
	"trireme/internal/object"
	"trireme/internal/server"
	"trireme/internal/wire"
)

// upOptions are the flags of up and join beside the configuration itself.
type upOptions struct {
	cfg     server.Config
	file    string
	detach  bool
	timeout time.Duration
	verbose bool
	noAgent bool
}

func (o *upOptions) flags(f *pflag.FlagSet) {
	o.cfg = server.Default()
	if root := os.Getenv("TRIREME_ROOT"); root != "" {
		o.cfg.Root = root
	}
	c := &o.cfg
	f.StringVar(&o.file, "config", "", "YAML file with the configuration; flags win over it")
	f.StringVar(&c.Root, "root", c.Root, "state folder")
	f.StringVar(&c.Node, "node", "", "this machine's name in the cluster (default: its host name)")
	f.StringVar(&c.Address, "address", "", "where other machines reach this one, on a dual-stack cluster IPV4,IPV6 (default: the addresses of the default routes)")
	f.StringVar(&c.Agent.Listen, "listen", c.Agent.Listen, "the agent's address for logs, exec and images")
	f.StringVar(&c.Agent.MesosListen, "mesos-agent-listen", "", "address of Mesos' agent API; none: there is none (default: :5051, unless another process has it)")
	f.StringVar(&c.Agent.Runtime, "runtime", c.Agent.Runtime, "what runs containers: cri (containerd) or native (trireme itself, containerd for images only)")
	f.StringVar(&c.Agent.CRIEndpoint, "cri-endpoint", "", "socket of an existing container runtime (default: our own containerd)")
	f.StringVar(&c.Agent.CNIConfDir, "cni-conf-dir", "", "directory of CNI network configurations: the plugins of the first one attach this machine's pods and choose their addresses (default: Trireme does)")
	f.StringVar(&c.Agent.CNIBinDir, "cni-bin-dir", "", "directory of these plugins (default: /opt/cni/bin)")
	f.StringVar(&c.Agent.Bridge, "bridge", c.Agent.Bridge, "name of the pod network's link")
	f.StringSliceVar(&c.Agent.DNS.Upstream, "dns-upstream", nil, "resolvers for names that are not the cluster's, ADDRESS[:PORT] (default: those of /etc/resolv.conf)")
	f.StringArrayVar(&c.Agent.DNS.Stubs, "dns-stub", nil, "resolvers of one domain, DOMAIN=ADDRESS[:PORT][,ADDRESS[:PORT]...]; may be given again")
	f.BoolVar(&c.Agent.Ingress, "ingress", c.Agent.Ingress, "answer for ingresses on this machine, on ports 80 and 443 while there are any")
	f.StringVar(&c.Agent.IngressAccessLog, "ingress-access-log", "", "where requests of ingress are written down as JSON lines, a file that is turned over at 100 MiB; - is standard output")
	f.StringToStringVar(&c.Agent.Labels, "label", nil, "labels of this node, key=value")
	f.IntVar(&c.Agent.PodsMax, "pods-max", c.Agent.PodsMax, "most pods this node takes")
	f.TextVar(&c.Agent.OverlayKeyLife, "overlay-key-life", c.Agent.OverlayKeyLife, "how long this node's key is used where the overlay is encrypted")
	f.TextVar(&c.Agent.BackOffMin, "back-off", c.Agent.BackOffMin, "first pause before a crashed container is started again")
	evictionFlags(f, &c.Agent.Eviction)
	pullFlags(f, &c.Agent.Pulls)
	f.StringToStringVar(&c.Agent.SystemReserved, "system-reserved", nil, "what no pod may have of the node, for its system: cpu=500m,memory=1Gi,ephemeral-storage=1Gi,pid=1000")
	f.StringToStringVar(&c.Agent.KubeReserved, "kube-reserved", nil, "the same, for Trireme itself")
	f.StringVar(&c.Agent.CPUManagerPolicy, "cpu-manager-policy", c.Agent.CPUManagerPolicy, "static: Guaranteed pods with whole CPUs have them to themselves; or none")
	f.StringVar(&c.Agent.SwapBehavior, "swap-behavior", c.Agent.SwapBehavior, "LimitedSwap: containers of Burstable pods have swap in proportion to their memory requests; or NoSwap")
	f.StringSliceVar(&c.Agent.AllowedUnsafeSysctls, "allowed-unsafe-sysctls", nil, "kernel settings that pods may ask for beside the safe ones: kernel.msg*,net.core.somaxconn")
	f.StringVar(&c.Agent.KubeletDir, "kubelet-dir", c.Agent.KubeletDir, "the directory that CSI drivers' manifests mount from their node; they get --root instead")
	f.StringVar(&c.Agent.StaticPods, "pod-manifest-path", "", "directory of manifests of pods that this node runs without a manager")
	f.StringVar(&c.PodCIDR, "pod-cidr", c.PodCIDR, "addresses of pods, one network or one of each family: 10.128.0.0/10,fd00:10:128::/48; the same on all machines")
	f.StringVar(&c.ServiceCIDR, "service-cidr", c.ServiceCIDR, "addresses of services, of the same families: 10.96.0.0/12,fd00:10:96::/112; the same on all machines")
	f.BoolVarP(&o.detach, "detach", "d", false, "go on in the background once the machine is ready")
	f.DurationVar(&o.timeout, "timeout", 3*time.Minute, "how long --detach waits")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log what only a developer wants to know")
}

func pullFlags(f *pflag.FlagSet, c *server.PullsConfig) {
	f.BoolVar(&c.Serial, "serialize-image-pulls", false, "pull one image at a time")
	f.IntVar(&c.ParallelMax, "max-parallel-image-pulls", 0, "images that are pulled at a time; 0: as many as pods want")
	f.StringVar(&c.ProviderConfig, "image-credential-provider-config", "", "which programs know registries' credentials: a file of kind CredentialProviderConfig, or a directory of some")
	f.StringVar(&c.ProviderBinDir, "image-credential-provider-bin-dir", "", "directory of these programs")
}

func evictionFlags(f *pflag.FlagSet, c *pressure.Config) {
	f.StringVar(&c.Hard, "eviction-hard", c.Hard, "what a node must have left; below it pods are evicted at once")
	f.StringVar(&c.Soft, "eviction-soft", c.Soft, "the same, once it has lasted as long as the next flag says: memory.available<1Gi")
	f.StringVar(&c.SoftGrace, "eviction-soft-grace-period", c.SoftGrace, "memory.available=1m30s and so on")
	f.Int64Var(&c.MaxPodGraceSeconds, "eviction-max-pod-grace-period", c.MaxPodGraceSeconds, "seconds at most that a pod gets to end that a soft threshold evicts")
	f.StringVar(&c.MinimumReclaim, "eviction-minimum-reclaim", c.MinimumReclaim, "how much more than a threshold must be free again: memory.available=100Mi")
	f.StringVar(&c.Transition, "eviction-pressure-transition-period", c.Transition, "for how long a condition of pressure stays after its cause")
}

func (o *upOptions) managerFlags(f *pflag.FlagSet) {
	c := &o.cfg.Manager
	f.StringVar(&c.APIListen, "api-listen", c.APIListen, "address of the Kubernetes API")
	f.StringVar(&c.AgentListen, "agent-listen", c.AgentListen, "address for the sessions of agents")
	f.StringVar(&c.PeerListen, "peer-listen", "", "address where the logs of other managers reach this one's; none: it stays alone (default: :6445, unless another process has it)")
	f.StringVar(&c.RelayListen, "relay-listen", "", "address where other managers pass on what they are asked while this one leads (default: :6446, unless another process has it)")
	f.StringVar(&c.DockerSocket, "docker-socket", "", "socket of the Docker API, for root alone; none: there is none (default: /run/trireme/docker.sock, with another --root docker.sock below it)")
	f.StringVar(&c.DockerListen, "docker-listen", c.DockerListen, "address of the Docker API for who shows a client certificate or a token; none: there is none")
	f.StringVar(&c.MesosListen, "mesos-listen", "", "address of the Mesos API; none: there is none (default: :5050, unless another process has it)")
	f.StringVar(&c.MarathonListen, "marathon-listen", "", "address of the Marathon API; none: there is none (default: :8080, unless another process has it)")
	f.StringVar(&c.ZooKeeperListen, "zookeeper-listen", "", "address where ZooKeeper's clients find the leading Mesos master, at /mesos, as :2181 (default: none)")
	f.StringVar(&c.MesosAnonymous, "mesos-anonymous", "", "`USER[,GROUP...]` as whom those are taken who show nothing to the APIs of Mesos and Marathon; without it they are refused")
	f.TextVar(&c.Grace, "grace", c.Grace, "how long a silent node counts as alive")
	f.TextVar(&c.OfferTimeout, "offer-timeout", c.OfferTimeout, "after how long an offer that a framework of Mesos does not answer is rescinded")
	f.StringVar(&c.SchedulerConfig, "scheduler-config", c.SchedulerConfig, "how pods are placed, by the scheduler that they name: a file of kind kubescheduler.config.k8s.io/v1 KubeSchedulerConfiguration")
	f.TextVar(&c.MesosAgentTimeout, "mesos-agent-timeout", c.MesosAgentTimeout, "for how long a node is silent before frameworks of Mesos are told that its agent is unreachable")
	f.Var(&optional{&c.EncryptOverlay}, "encrypt-overlay", "encrypt what pods say to pods of other machines; =false ends it; without it all stays as it was")
	f.Lookup("encrypt-overlay").NoOptDefVal = "true"
	f.StringVar(&c.Audit.PolicyFile, "audit-policy-file", c.Audit.PolicyFile, "what the audit log holds: a file of kind audit.k8s.io/v1 Policy")
	f.StringVar(&c.Audit.LogPath, "audit-log-path", c.Audit.LogPath, "where requests are written down as JSON lines; - is standard output")
	f.IntVar(&c.Audit.LogMaxMiB, "audit-log-maxsize", c.Audit.LogMaxMiB, "size in MiB at which the audit log is put aside")
	f.IntVar(&c.Audit.LogBackups, "audit-log-maxbackup", c.Audit.LogBackups, "how many audit logs that were put aside are kept")
	f.IntVar(&c.Audit.LogMaxDays, "audit-log-maxage", c.Audit.LogMaxDays, "how many days they are kept; 0: for ever")
	f.StringVar(&c.Audit.WebhookFile, "audit-webhook-config-file", c.Audit.WebhookFile, "kubeconfig of a server that requests are reported to")
	f.IntVar(&c.RequestsMax, "max-requests-inflight", c.RequestsMax, "requests that the API works on at a time, with those of the next flag; priority levels share them")
	f.IntVar(&c.MutatingMax, "max-mutating-requests-inflight", c.MutatingMax, "added to max-requests-inflight")
	identityFlags(f, &c.Authentication)
	f.StringVar(&c.ACME.Directory, "acme-directory", c.ACME.Directory, "ACME server that ingresses have certificates of which ask for it")
	f.StringVar(&c.ACME.Contact, "acme-contact", c.ACME.Contact, "address of mail that the ACME server may write to")
	f.StringVar(&c.ACME.CAFile, "acme-ca-file", c.ACME.CAFile, "PEM file of who signs the ACME server's own certificate, beside those that this system trusts")
	f.BoolVar(&c.UnsafeNoSync, "unsafe-no-sync", false, "do not wait for the disk: a crash loses writes")
	f.BoolVar(&o.noAgent, "no-agent", false, "run no containers on this machine")
}

// load merges defaults, file and flags, in this order.
func (o *upOptions) load(f *pflag.FlagSet) error {
	if o.file != "" {
		given := givenFlags(f)
		b, err := os.ReadFile(o.file)
		if err != nil {
			return usagef("--config: %w", err)
		}
		if err := yaml.UnmarshalStrict(b, &o.cfg); err != nil {
			return usagef("--config %s: %w", o.file, err)
		}
		for name, set := range given {
			if err := set(); err != nil {
				return usagef("--%s: %w", name, err)
			}
		}
	}
	if o.noAgent {
		o.cfg.Agent.Enabled = false
	}
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	o.cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	return o.cfg.Complete()
}

// optional is a flag that may be true, false, or not given.
type optional struct{ to **bool }

func (o *optional) Set(s string) error {
	v, err := strconv.ParseBool(s)
	*o.to = &v
	return err
}

func (o *optional) String() string {
	if o.to == nil || *o.to == nil {
		return ""
	}
	return strconv.FormatBool(**o.to)
}

func (*optional) Type() string { return "bool" }

// givenFlags returns, for each flag that was given, what sets it to its value of
// now again.
func givenFlags(f *pflag.FlagSet) map[string]func() error {
	given := map[string]func() error{}
	f.Visit(func(f *pflag.Flag) {
		if list, ok := f.Value.(pflag.SliceValue); ok { // to set it would add to it
			value := list.GetSlice()
			given[f.Name] = func() error { return list.Replace(value) }
			return
		}
		value := strings.Trim(f.Value.String(), "[]")
		given[f.Name] = func() error { return f.Value.Set(value) }
	})
	return given
}

func (a *app) upCommand() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine: manager and node in one process",
		Example: `  trireme up --detach                 start in the background, return when ready
  trireme up --root /srv/t --node a   stay in the foreground`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.load(cmd.Flags()); err != nil {
				return err
			}
			return a.start(cmd.Context(), &o)
		},
	}
	o.flags(c.Flags())
	o.managerFlags(c.Flags())
	c.Flags().BoolVar(&o.cfg.Manager.Alone, "force-new-cluster", false, "where most managers are lost for good: go on alone with what this one has; the others must never start again")
	return c
}

func (a *app) joinCommand() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "join ADDRESS[:PORT]...",
		Short: "Make this machine a node, or a manager, of a cluster",
		Long: `Make this machine a node of the cluster whose manager listens at ADDRESS (port
6444 unless given). The token, printed by "trireme status" on a manager, proves
who the cluster is and that this machine may join; it is needed once. With the
token for managers the machine becomes a manager, and a node too unless --no-agent
is given.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var addrs []string
			for _, addr := range args {
				if !strings.Contains(addr, ":") {
					addr += ":6444"
				}
				addrs = append(addrs, addr)
			}
			if err := o.join(cmd.Flags(), addrs); err != nil {
				return err
			}
			return a.start(cmd.Context(), &o)
		},
	}
	o.flags(c.Flags())
	o.managerFlags(c.Flags())
	c.Flags().StringVar(&o.cfg.Agent.Token, "token", "", "join token, of nodes or of managers (or $TRIREME_TOKEN)")
	o.cfg.Agent.Token = os.Getenv("TRIREME_TOKEN")
	return c
}

// join completes the configuration of a machine that joins, as what its token is for.
func (o *upOptions) join(f *pflag.FlagSet, addrs []string) error {
	t, err := wire.ParseToken(o.cfg.Agent.Token)
	if o.cfg.Manager.Enabled = err == nil && t.Manager; o.cfg.Manager.Enabled {
		o.cfg.Manager.Join, o.cfg.Manager.Token = addrs, o.cfg.Agent.Token
		return o.load(f)
	}
	var own upOptions // a manager's flags are no node's
	managers := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.managerFlags(managers)
	f.Visit(func(given *pflag.Flag) {
		if managers.Lookup(given.Name) != nil {
			err = usagef("--%s is for managers: join with the token for managers, which `trireme status` prints on one", given.Name)
		}
	})
	if err != nil && o.cfg.Agent.Token != "" {
		return err
	}
	o.cfg.Agent.Managers = addrs
	return o.load(f)
}

func (a *app) start(ctx context.Context, o *upOptions) error {
	if !o.detach {
		return server.Run(ctx, o.cfg)
	}
	if pid := server.Pid(o.cfg.Root); pid != 0 {
		fmt.Fprintf(a.err, "already running (process %d, state in %s)\n", pid, o.cfg.Root)
		return a.awaitReady(ctx, o, nil)
	}
	child, err := spawn(o.cfg.Root)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	return a.awaitReady(ctx, o, ended)
}

// spawn starts the same command line in the foreground of a session of its own,
// writing to the log file.
func spawn(root string) (*exec.Cmd, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	path := logPath(root)
	if st, err := os.Stat(path); err == nil && st.Size() > 0 {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, fmt.Errorf("putting the old log aside: %w", err)
		}
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	defer out.Close()
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(s string) bool {
		return s == "--detach" || s == "-d" || s == "--detach=true"
	})
	c := exec.Command("/proc/self/exe", args...)
	c.Args[0] = "trireme"
	c.Stdout, c.Stderr = out, out
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("starting in the background: %w", err)
	}
	return c, nil
}

func logPath(root string) string { return filepath.Join(root, "trireme.log") }

// awaitReady returns when the machine's node is ready, or with what the process
// said when it ended instead.
func (a *app) awaitReady(ctx context.Context, o *upOptions, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	p := newProgress(a.err)
	defer p.Done()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error // what it waits for, as was said while there was time
	for {
		said := a.ready(ctx, o)
		if said == nil {
			p.say("ready")
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = said
		}
		p.say("%s", firstLine(last.Error()))
		select {
		case <-tick.C:
		case <-ended:
			return fmt.Errorf("the process ended: %s", lastError(logPath(o.cfg.Root)))
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("not ready after %s: %w (the log is %s)", o.timeout, last, logPath(o.cfg.Root))
			}
			return ctx.Err()
		}
	}
}

// ready returns nil when the machine is ready, else what it waits for.
func (a *app) ready(ctx context.Context, o *upOptions) error {
	if !o.cfg.Manager.Enabled {
		return agentReady(ctx, o.cfg)
	}
	if _, err := os.Stat(o.cfg.KubeconfigPath()); err != nil || server.Pid(o.cfg.Root) == 0 {
		return errors.New("starting the manager")
	}
	a.kubeconfig = o.cfg.KubeconfigPath()
	cs, _, err := a.client()
	if err != nil {
		return err
	}
	if !o.cfg.Agent.Enabled {
		_, err := cs.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		return err
	}
	n, err := cs.CoreV1().Nodes().Get(ctx, o.cfg.Node, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("starting the node")
	}
	if !object.NodeReady(n) || n.Spec.PodCIDR == "" {
		return errors.New("waiting for the node to be ready" + because(n))
	}
	return nil
}

// because returns why a node says that it is not ready, to be put after that.
func because(n *corev1.Node) string {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue && c.Message != "" {
			return ": " + c.Message
		}
	}
	return ""
}

// agentReady asks the agent of this machine, where no manager is.
func agentReady(_ context.Context, cfg server.Config) error {
	if _, err := os.Stat(filepath.Join(cfg.Root, "agent", "assignments")); err != nil {
		return errors.New("waiting for the first session with a manager")
	}
	return nil
}

// lastError returns the last error line of a log file, or its last line.
func lastError(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, l := range slices.Backward(lines) {
		if msg, ok := strings.CutPrefix(l, "error: "); ok {
			return msg
		}
	}
	return lines[len(lines)-1] + " (" + path + ")"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (a *app) downCommand() *cobra.Command {
	cfg := server.Default()
	if root := os.Getenv("TRIREME_ROOT"); root != "" {
		cfg.Root = root
	}
	keep := false
	c := &cobra.Command{
		Use:   "down",
		Short: "Stop this machine's process and leave nothing behind",
		Long: `Stop this machine's process, its containers and their runtime, and remove mounts,
links, rules, cgroups and the state. With --keep only the process stops: the
containers go on, and the next "trireme up" finds and adopts them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
			defer cancel()
			return down(ctx, a.err, cfg, keep)
		},
	}
	c.Flags().StringVar(&cfg.Root, "root", cfg.Root, "state folder")
	c.Flags().StringVar(&cfg.Agent.Bridge, "bridge", cfg.Agent.Bridge, "name of the pod network's link")
	c.Flags().BoolVar(&keep, "keep", false, "keep the state and the containers")
	return c
}

func down(ctx context.Context, w io.Writer, cfg server.Config, keep bool) error {
	was, err := server.Stop(ctx, cfg.Root)
	if err != nil {
		return err
	}
	switch {
	case keep && was:
		fmt.Fprintf(w, "stopped; the state is in %s, its containers go on\n", cfg.Root)
		return nil
	case keep:
		fmt.Fprintln(w, "nothing was running")
		return nil
	}
	if err := server.Teardown(ctx, cfg); err != nil {
		return err
	}
	fmt.Fprintln(w, "stopped; nothing is left")
	return nil
}
