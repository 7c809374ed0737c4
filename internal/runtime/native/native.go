package native

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/runtime/cri"
	"trireme/internal/runtime/shim"
)

var _ runtime.Runtime = (*Runtime)(nil)

// Network wires sandboxes.
type Network interface {
	// AddPod gives a network namespace the pod's link, addresses and routes, and returns
	// the addresses. After an error DelPod takes away what was done.
	AddPod(ctx context.Context, sandbox, netns string, pod types.NamespacedName, uid types.UID) ([]netip.Addr, error)
	// DelPod takes them away; it is no error if there are none.
	DelPod(ctx context.Context, sandbox string) error
	// Keep takes away those of sandboxes that are not known.
	Keep(ctx context.Context, known func(sandbox string) bool) error
	// Ready says whether AddPod can work.
	Ready(ctx context.Context) error
}

// Config says where things are.
type Config struct {
	// Root is the node's state folder; everything is below Root/native. Absolute,
	// and at most 74 bytes long: sockets lie below it.
	Root string
	// Images is containerd. Required.
	Images *cri.Runtime
	// Network is required.
	Network Network
	// BinDir holds trireme-shim, and runc where there is no crun.
	BinDir string
	// Runtime is the OCI runtime's path; empty: crun where PATH has it, else runc.
	Runtime string
	// PauseImage holds the process space of sandboxes that share one.
	PauseImage string
	// SeccompDefault and SeccompRoot are as in cri.Config.
	SeccompDefault bool
	SeccompRoot    string
	// Log is required.
	Log *slog.Logger
}

const rootMax = 74

func (c *Config) validate() error {
	switch {
	case c.Images == nil || c.Network == nil || c.Log == nil || c.PauseImage == "":
		return kind.New(kind.Invalid, "native: Images, Network, PauseImage and Log are required")
	case !filepath.IsAbs(c.Root) || len(c.Root) > rootMax:
		return &kind.Error{Kind: kind.Invalid, Op: "configuring the runtime", Field: "Root",
			Err: kind.New(kind.Invalid, "%q is not an absolute path of at most %d bytes", c.Root, rootMax)}
	}
	if c.Runtime == "" {
		c.Runtime = filepath.Join(c.BinDir, "runc")
		if crun, err := exec.LookPath("crun"); err == nil {
			c.Runtime = crun
		}
	}
	for _, path := range []string{c.Runtime, filepath.Join(c.BinDir, "trireme-shim")} {
		if _, err := exec.LookPath(path); err != nil {
			return kind.New(kind.Invalid, "configuring the runtime: %w", err)
		}
	}
	return nil
}

// Runtime runs containers.
type Runtime struct {
	cfg     Config
	dir     shim.Dir
	shim    shim.Client
	cgroups []string // where the hierarchies are mounted
	unified bool
	streams *streams
	disk    diskUse
	up      chan struct{} // closed when the shim has answered for the first time

	mu         sync.Mutex
	upped      bool
	halves     []string // sandboxes that an earlier runtime did not make to their end
	sandboxes  map[string]*sandbox
	containers map[string]*container
	watchers   map[*watcher]bool

	layersMu  sync.Mutex
	layers    map[string][]string      // folders by chain
	templates map[string]*cri.Template // by image ID
	removed   map[string]bool          // chains whose image is gone
}

// New returns a Runtime that knows what an earlier one left. It starts nothing.
func New(cfg Config) (*Runtime, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	dir := shim.DirOf(cfg.Root)
	r := &Runtime{
		cfg: cfg, dir: dir, shim: shim.Client{Dir: dir}, up: make(chan struct{}),
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{}, watchers: map[*watcher]bool{},
		layers: map[string][]string{}, templates: map[string]*cri.Template{}, removed: map[string]bool{}, disk: diskUse{last: map[string]measured{}},
	}
	var err error
	if r.cgroups, r.unified, err = hierarchies(); err != nil {
		return nil, err
	}
	for _, d := range []string{string(dir), dir.Sandbox(""), dir.Container(""), dir.RuntimeRoot()} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return nil, kind.New(kind.Unavailable, "making the runtime's folders: %w", err)
		}
	}
	if err := r.load(); err != nil {
		return nil, err
	}
	if r.streams, err = newStreams(r); err != nil {
		return nil, err
	}
	return r, nil
}

// OCI returns the path of the OCI runtime that starts the containers.
func (r *Runtime) OCI() string { return r.cfg.Runtime }

// load reads what an earlier runtime left. What it did not finish making is
// taken away.
func (r *Runtime) load() error {
	entries, err := os.ReadDir(r.dir.Sandbox(""))
	if err != nil {
		return kind.New(kind.Unavailable, "reading the sandboxes: %w", err)
	}
	for _, e := range entries {
		rec, err := shim.Read[sandboxRecord](r.dir.Sandbox(e.Name(), sandboxFile))
		if err != nil || !rec.Made {
			r.halves = append(r.halves, e.Name())
			continue
		}
		s := &sandbox{rec: rec}
		s.ready = !rec.Stopped && r.namespacesHeld(&rec)
		r.sandboxes[rec.ID] = s
	}
	entries, err = os.ReadDir(r.dir.Container(""))
	if err != nil {
		return kind.New(kind.Unavailable, "reading the containers: %w", err)
	}
	for _, e := range entries {
		if r.sandboxes[e.Name()] != nil || slices.Contains(r.halves, e.Name()) {
			continue // it holds a process space
		}
		rec, err := shim.Read[containerRecord](r.dir.Container(e.Name(), containerFile))
		if errors.Is(err, fs.ErrNotExist) || err == nil && r.sandboxes[rec.Sandbox] == nil {
			r.cfg.Log.Info("removing a container that was not made to its end", "container", e.Name())
			r.clear(e.Name())
			continue
		}
		if err != nil {
			return err
		}
		c := newContainer(rec)
		r.containers[rec.ID] = c
		r.refresh(c)
	}
	return nil
}

// newID returns 64 hexadecimal digits, as containerd's IDs are.
func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
