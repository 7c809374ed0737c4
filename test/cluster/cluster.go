// Package cluster makes test machines: network namespaces joined by a bridge in
// a further namespace, each with its own state folder and address. Whole
// clusters of real processes run in them on one machine, beside each other and
// beside whatever else the machine does.
//
// A Host is a machine: Trireme runs the binary on it, Kubectl the installed
// kubectl against its API. A test reads like a script of what happens to them:
// Start, Join, Cut and Mend, Impair, Kill, KillContainerd, PowerOff. A Place is
// where connections are made from, and Load is a client that never rests.
// Close ends and removes everything that was made, also after a failure.
//
// It is not for simulated nodes (package sim) and it fakes nothing but the wire
// between the machines.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"crypto/rand"
	"encoding/hex"
)

// Config configures a Cluster.
type Config struct {
	Hosts  int    // 0: one
	Binary string // path of the trireme binary, absolute. Required
	Dir    string // where the hosts keep their state; empty: a new temporary folder
	Family Family // of the wire and of the clusters on it
}

// Family is the addresses that machines have.
type Family int

// The families. Machines of IPv4 have addresses of IPv6 on the wire too, and make no
// use of them.
const (
	IPv4 Family = iota
	Dual
	IPv6 // alone: there is no address of IPv4 but 127.0.0.1
)

// Cluster is some hosts on one wire.
type Cluster struct {
	Hosts []*Host

	cfg Config
	id  string
	own bool // the folder is ours to remove
}

// Host is one machine.
type Host struct {
	Name    string // of its namespace, and its node name
	Address string // on the wire, of the first family
	IPv6    string // on the wire
	Root    string

	c       *Cluster
	i       int
	port    string // the link on the switch that leads here
	relay   *relay // in the cable; nil: none
	line    []string
	process *exec.Cmd
	ended   chan struct{}
}

// Addresses on the wire beside the hosts': of the default route, where nobody is,
// and of the world outside.
const (
	gateway  = "192.168.77.254"
	gateway6 = "fd77::fe"
	// Outside4 and Outside6 are the world outside's.
	Outside4 = "192.168.77.253"
	Outside6 = "fd77::fd"
)

// networkFlags make a cluster of the families.
var networkFlags = map[Family][]string{
	Dual: {"--pod-cidr", "10.128.0.0/10,fd00:10:128::/48", "--service-cidr", "10.96.0.0/12,fd00:10:96::/112"},
	IPv6: {"--pod-cidr", "fd00:10:128::/56", "--service-cidr", "fd00:10:96::/108"},
}

// New makes the hosts. They run nothing yet.
func New(ctx context.Context, cfg Config) (*Cluster, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("not root: test machines are network namespaces")
	}
	b := make([]byte, 3)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, id: "t" + hex.EncodeToString(b)}
	if cfg.Dir == "" {
		dir, err := os.MkdirTemp("", "tri-")
		if err != nil {
			return nil, err
		}
		c.cfg.Dir, c.own = dir, true
	}
	if err := c.wire(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for i := range max(cfg.Hosts, 1) {
		if err := c.host(ctx, i); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// wire makes the switch: a bridge in a namespace of its own.
func (c *Cluster) wire(ctx context.Context) error {
	return ip(ctx,
		"netns add "+c.id,
		"-n "+c.id+" link set lo up",
		"-n "+c.id+" link add br0 type bridge",
		"-n "+c.id+" addr add "+Outside4+"/24 dev br0",
		"-n "+c.id+" addr add "+Outside6+"/64 dev br0 nodad",
		"-n "+c.id+" link set br0 up")
}

func (c *Cluster) host(ctx context.Context, i int) error {
	h := &Host{
		Name: fmt.Sprintf("%s-%d", c.id, i), Address: fmt.Sprintf("192.168.77.%d", i+1), IPv6: fmt.Sprintf("fd77::%d", i+1),
		Root: filepath.Join(c.cfg.Dir, fmt.Sprint(i)), c: c, i: i,
	}
	if c.cfg.Family == IPv6 {
		h.Address = h.IPv6
	}
	c.Hosts = append(c.Hosts, h)
	if err := os.MkdirAll(h.Root, 0o755); err != nil {
		return err
	}
	return h.plug(ctx)
}

func ip(ctx context.Context, lines ...string) error {
	for _, l := range lines {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(l)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", l, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// Close stops what runs on the hosts and removes the hosts. It may be called
// twice.
func (c *Cluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var errs []error
	for _, h := range c.Hosts {
		errs = append(errs, h.repair(ctx), h.Down(ctx))
	}
	for _, h := range c.Hosts {
		errs = append(errs, ip(ctx, "netns del "+h.Name))
	}
	errs = append(errs, ip(ctx, "netns del "+c.id))
	if c.own {
		errs = append(errs, os.RemoveAll(c.cfg.Dir))
	}
	c.Hosts = nil
	return errors.Join(errs...)
}

// Command returns a command that runs on the host.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + h.Name, "--", name}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+h.Kubeconfig(), "TRIREME_ROOT="+h.Root)
	return cmd
}

// Kubeconfig returns the path of the administrator's kubeconfig, if the host is
// a manager.
func (h *Host) Kubeconfig() string { return filepath.Join(h.Root, "admin.kubeconfig") }

// Run runs a command on the host and returns what it printed; the error holds
// what it printed on stderr.
func (h *Host) Run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := h.Command(ctx, name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// Trireme runs the trireme command line on the host.
func (h *Host) Trireme(ctx context.Context, args ...string) (string, error) {
	return h.Run(ctx, h.c.cfg.Binary, args...)
}

// Kubectl runs the installed kubectl against the host's API, or the one built in
// where none is installed.
func (h *Host) Kubectl(ctx context.Context, args ...string) (string, error) {
	line := append(KubectlLine(h.c.cfg.Binary), "--cache-dir", filepath.Join(h.c.cfg.Dir, "kubectl-cache"))
	line = append(line, args...)
	return h.Run(ctx, line[0], line[1:]...)
}

// KubectlLine returns how to call kubectl: the installed one, or the one that
// the binary has built in.
func KubectlLine(binary string) []string {
	if _, err := exec.LookPath("kubectl"); err != nil {
		return []string{binary, "kubectl"}
	}
	return []string{"kubectl"}
}
