// Package cluster makes test machines: network namespaces joined by a bridge in
// a further namespace, each with its own state folder and address. Whole
// clusters of real processes run in them on one machine, beside each other and
// beside whatever else the machine does.
//
// A Host is a machine: Trireme runs the binary on it, Kubectl the installed
// kubectl against its API. Close ends and removes everything that was made,
// also after a failure.
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
	"syscall"
	"time"

	"crypto/rand"
	"encoding/hex"
)

// Config configures a Cluster.
type Config struct {
	Hosts  int    // 0: one
	Binary string // path of the trireme binary, absolute. Required
	Dir    string // where the hosts keep their state; empty: a new temporary folder
}

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
	Address string
	Root    string

	c       *Cluster
	process *exec.Cmd
	ended   chan struct{}
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
		"-n "+c.id+" link add br0 type bridge",
		"-n "+c.id+" link set br0 up")
}

func (c *Cluster) host(ctx context.Context, i int) error {
	h := &Host{
		Name: fmt.Sprintf("%s-%d", c.id, i), Address: fmt.Sprintf("192.168.77.%d", i+1),
		Root: filepath.Join(c.cfg.Dir, fmt.Sprint(i)), c: c,
	}
	c.Hosts = append(c.Hosts, h)
	if err := os.MkdirAll(h.Root, 0o755); err != nil {
		return err
	}
	port := fmt.Sprintf("p%d", i)
	return ip(ctx,
		"netns add "+h.Name,
		"-n "+h.Name+" link set lo up",
		"-n "+h.Name+" link add eth0 type veth peer name "+port+" netns "+c.id,
		"-n "+h.Name+" addr add "+h.Address+"/24 dev eth0",
		"-n "+h.Name+" link set eth0 up",
		"-n "+c.id+" link set "+port+" master br0",
		"-n "+c.id+" link set "+port+" up",
		"-n "+h.Name+" route add default via 192.168.77.254")
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
		errs = append(errs, h.Down(ctx))
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

// Start starts `trireme up` (or the given command line) on the host in the
// foreground of this process's child; its log is Root/trireme.log. It does not
// wait until it is ready.
func (h *Host) Start(args ...string) error {
	if len(args) == 0 {
		args = []string{"up"}
	}
	args = append(args, "--root", h.Root, "--node", h.Name, "--address", h.Address)
	if driver := os.Getenv("TRIREME_TEST_RUNTIME"); driver != "" {
		args = append(args, "--runtime", driver) // the whole suite on the other runtime driver
	}
	out, err := os.OpenFile(filepath.Join(h.Root, "trireme.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	h.process = h.Command(context.Background(), h.c.cfg.Binary, args...)
	h.process.Stdout, h.process.Stderr = out, out
	if err := h.process.Start(); err != nil {
		return err
	}
	h.ended = make(chan struct{})
	go func(p *exec.Cmd, ended chan struct{}) {
		_ = p.Wait() // how it ended is in its log
		close(ended)
	}(h.process, h.ended)
	return nil
}

// Pid returns the process that Start started (nsenter becomes the binary).
func (h *Host) Pid() int { return h.process.Process.Pid }

// Ended is closed when the process that Start started has ended.
func (h *Host) Ended() <-chan struct{} { return h.ended }

// Kill ends the process as a power cut would, without its containers.
func (h *Host) Kill() error {
	if err := h.process.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-h.ended
	return nil
}

// Ready waits until the host's node is ready.
func (h *Host) Ready(ctx context.Context) error {
	return h.Await(ctx, "node "+h.Name+" is ready", func() error {
		out, err := h.Kubectl(ctx, "get", "node", h.Name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != "True" {
			err = fmt.Errorf("condition Ready is %q", out)
		}
		return err
	})
}

// Await calls f until it returns nil, or ctx or the host's process ends; what
// is said in the error.
func (h *Host) Await(ctx context.Context, what string, f func() error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-h.ended:
			return fmt.Errorf("waiting until %s: the process ended: %s", what, h.LogTail(15))
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w; last: %w", what, ctx.Err(), err)
		}
	}
}

// LogTail returns the last lines of the process's log.
func (h *Host) LogTail(lines int) string {
	b, err := os.ReadFile(filepath.Join(h.Root, "trireme.log"))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Down stops what runs on the host and removes what it left.
func (h *Host) Down(ctx context.Context) error {
	if _, err := os.Stat(h.Root); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_, err := h.Trireme(ctx, "down", "--root", h.Root)
	return err
}
