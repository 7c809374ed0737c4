package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
)

// callMax bounds one call of all plugins: they are other people's.
const callMax = 90 * time.Second

// Config says where things are.
type Config struct {
	// ConfDir holds the user's network configurations. Empty: no pod is attached, and what
	// an earlier process attached is taken down when it is asked for.
	ConfDir string
	// BinDirs are where plugins are looked for, in this order.
	BinDirs []string
	// Dir is where attachments are remembered. Required.
	Dir string
	// Within calls f on a thread in the node's network namespace, where plugins work; nil:
	// the calling thread's.
	Within func(f func() error) error
}

// Chain is the user's plugins.
type Chain struct {
	cfg Config

	mu       sync.Mutex
	accepted []byte // the configuration whose plugins are known to speak its version
}

// New returns a Chain. It touches nothing yet.
func New(cfg Config) *Chain {
	if cfg.Within == nil {
		cfg.Within = func(f func() error) error { return f() }
	}
	return &Chain{cfg: cfg}
}

func (c *Chain) cni(binDirs []string) *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(binDirs, c.cfg.Dir, nil)
}

// Ready says whether pods can be attached, in a kubelet's words: there is a configuration,
// its plugins are there and speak its version, and those of CNI 1.1 say that they can.
func (c *Chain) Ready(ctx context.Context) error {
	list, err := load(c.cfg.ConfDir)
	if err == nil {
		err = c.cfg.Within(func() error { return c.ask(ctx, list) })
	}
	if err != nil {
		return kind.New(kind.Unavailable, "NetworkReady is false: NetworkPluginNotReady: %w", err)
	}
	return nil
}

func (c *Chain) ask(ctx context.Context, list *libcni.NetworkConfigList) error {
	c.mu.Lock()
	known := bytes.Equal(c.accepted, list.Bytes)
	c.mu.Unlock()
	cni := c.cni(c.cfg.BinDirs)
	if !known {
		if _, err := cni.ValidateNetworkList(ctx, list); err != nil {
			return fmt.Errorf("network %s: %w (--cni-bin-dir says where plugins are)", list.Name, err)
		}
		c.mu.Lock()
		c.accepted = list.Bytes
		c.mu.Unlock()
	}
	if err := cni.GetStatusNetworkList(ctx, list); err != nil {
		return fmt.Errorf("network %s: %w", list.Name, err)
	}
	return nil
}

// Pod is what is attached.
type Pod struct {
	Sandbox string // its ID
	NetNS   string // path
	Object  *corev1.Pod
}

// Add attaches a pod and returns the addresses that it got, one a family, in the plugins'
// order. After an error Del takes away what was done.
func (c *Chain) Add(ctx context.Context, p Pod) ([]netip.Addr, error) {
	list, err := load(c.cfg.ConfDir)
	if err != nil {
		return nil, err
	}
	if err := refusal(list, p.Object); err != nil {
		return nil, err
	}
	a, err := c.attachment(list, p)
	if err != nil {
		return nil, err
	}
	if err := c.remember(p.Sandbox, a); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callMax)
	defer cancel()
	var result types.Result
	err = c.cfg.Within(func() (err error) {
		result, err = c.cni(a.BinDirs).AddNetworkList(ctx, list, a.conf(p.Sandbox))
		return err
	})
	if err != nil {
		return nil, kind.New(kind.Unavailable, "network %s: %w", list.Name, err)
	}
	return addresses(list.Name, result)
}

// addresses returns the pod's own: of links that are in its namespace.
func addresses(name string, from types.Result) (out []netip.Addr, err error) {
	r, err := current.NewResultFromResult(from)
	if err != nil {
		return nil, kind.New(kind.Malformed, "network %s: reading what the plugins answered: %w", name, err)
	}
	has := map[bool]bool{}
	for _, ip := range r.IPs {
		if i := ip.Interface; i != nil && (*i < 0 || *i >= len(r.Interfaces) || r.Interfaces[*i].Sandbox == "") {
			continue
		}
		a, ok := netip.AddrFromSlice(ip.Address.IP)
		if a = a.Unmap(); ok && !has[a.Is6()] {
			has[a.Is6()] = true
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, kind.New(kind.Unavailable, "network %s: the plugins gave the pod no address", name)
	}
	return out, nil
}

// Del takes a sandbox's attachment down; it is no error if there is none.
func (c *Chain) Del(ctx context.Context, sandbox string) error {
	a, err := c.recall(sandbox)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := libcni.NetworkConfFromBytes(a.Network)
	if err != nil {
		return kind.New(kind.Malformed, "reading how sandbox %s was attached: %w", sandbox, err)
	}
	if !held(a.NetNS) {
		a.NetNS = "" // CNI, DEL: it may have gone, with all that was in it
	}
	ctx, cancel := context.WithTimeout(ctx, callMax)
	defer cancel()
	err = c.cfg.Within(func() error { return c.cni(a.BinDirs).DelNetworkList(ctx, list, a.conf(sandbox)) })
	if err != nil {
		return kind.New(kind.Unavailable, "network %s: %w", list.Name, err)
	}
	return c.forget(sandbox)
}

// held reports whether a path is a namespace that somebody holds there.
func held(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && (st.Type == unix.NSFS_MAGIC || st.Type == unix.PROC_SUPER_MAGIC)
}

// Keep takes down the attachments of sandboxes that are not known.
func (c *Chain) Keep(ctx context.Context, known func(sandbox string) bool) error {
	all, err := c.sandboxes()
	errs := []error{err}
	for _, id := range all {
		if !known(id) {
			errs = append(errs, c.Del(ctx, id))
		}
	}
	return errors.Join(errs...)
}

// metaPlugins is what the names of plugins begin with that read the annotation of further
// networks themselves.
const metaPlugins = "multus"

// refusal says that a pod asks for networks of tenants, which none of the plugins knows of.
func refusal(list *libcni.NetworkConfigList, pod *corev1.Pod) error {
	if !onNetworks(pod) {
		return nil
	}
	for _, p := range list.Plugins {
		if strings.HasPrefix(filepath.Base(p.Network.Type), metaPlugins) {
			return nil
		}
	}
	return kind.New(kind.Invalid, "networks of tenants are not on this node, whose pods are attached by CNI plugins (--cni-conf-dir): put the pod on another node, or leave its networks out")
}
