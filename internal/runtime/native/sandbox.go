package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/runtime/shim"
)

const (
	sandboxFile = "sandbox.json"
	shmBytes    = "67108864" // of /dev/shm, as in containerd
)

// sandboxRecord is a sandbox on the disk.
type sandboxRecord struct {
	ID      string                `json:"id"`
	Config  runtime.SandboxConfig `json:"config"`
	Created time.Time             `json:"created"`
	Made    bool                  `json:"made"` // to its end
	// Addresses are those that the network gave it.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Stopped   bool         `json:"stopped,omitempty"`
}

type sandbox struct {
	op  sync.Mutex // held while it is made, stopped and removed
	rec sandboxRecord

	// Guarded by Runtime.mu.
	ready bool
	gone  bool
}

func (s *sandbox) pod() types.NamespacedName {
	return types.NamespacedName{Namespace: s.rec.Config.Namespace, Name: s.rec.Config.Name}
}

// RunSandbox makes a pod's namespaces, files and network.
func (r *Runtime) RunSandbox(ctx context.Context, cfg *runtime.SandboxConfig) (string, error) {
	const op = "running sandbox of pod"
	who := cfg.Namespace + "/" + cfg.Name
	if h := cfg.RuntimeHandler; h != "" && h != "runc" && h != filepath.Base(r.cfg.Runtime) {
		return "", &kind.Error{Kind: kind.Invalid, Op: op, Object: who,
			Err: kind.New(kind.Invalid, "no runtime for %q is configured", cfg.RuntimeHandler)}
	}
	s := &sandbox{rec: sandboxRecord{ID: newID(), Config: *cfg, Created: time.Now()}}
	s.op.Lock()
	defer s.op.Unlock()
	if err := r.register(s); err != nil {
		return "", fmt.Errorf("%s %s: %w", op, who, err)
	}
	err := r.make(ctx, s)
	if err != nil {
		r.dismantle(context.WithoutCancel(ctx), s.rec.ID)
		r.mu.Lock()
		delete(r.sandboxes, s.rec.ID)
		r.mu.Unlock()
		return "", &kind.Error{Kind: kind.Of(err), Op: op, Object: who, Err: err}
	}
	r.mu.Lock()
	s.ready = true
	r.mu.Unlock()
	r.notify(cfg.UID)
	return s.rec.ID, nil
}

// Addresses returns those that the network gave a sandbox, kind.NotFound if it is gone.
func (r *Runtime) Addresses(_ context.Context, id string) ([]netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	if s == nil || !s.rec.Made {
		return nil, &kind.Error{Kind: kind.NotFound, Op: "asking the addresses of sandbox", Object: id}
	}
	return s.rec.Addresses, nil
}

// register makes the sandbox known; there is one for each pod and attempt.
func (r *Runtime) register(s *sandbox) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.sandboxes {
		o, c := &other.rec.Config, &s.rec.Config
		if o.UID == c.UID && o.Attempt == c.Attempt && o.Name == c.Name && o.Namespace == c.Namespace {
			return kind.New(kind.Exists, "attempt %d is sandbox %s", c.Attempt, other.rec.ID)
		}
	}
	r.sandboxes[s.rec.ID] = s
	return nil
}

func (r *Runtime) make(ctx context.Context, s *sandbox) error {
	id, cfg := s.rec.ID, &s.rec.Config
	if err := os.MkdirAll(r.dir.Sandbox(id, "ns"), 0o711); err != nil {
		return err
	}
	if err := r.save(s); err != nil {
		return err
	}
	if cfg.LogDir != "" {
		if err := os.MkdirAll(cfg.LogDir, 0o755); err != nil {
			return fmt.Errorf("making the log folder: %w", err)
		}
	}
	if err := r.writeFiles(id, cfg); err != nil {
		return err
	}
	if !cfg.HostIPC {
		shm := r.dir.Sandbox(id, "shm")
		if err := os.Mkdir(shm, 0o711); err != nil {
			return err
		}
		if err := unix.Mount("shm", shm, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size="+shmBytes); err != nil {
			return fmt.Errorf("mounting shared memory: %w", err)
		}
	}
	if err := r.unshare(id, cfg); err != nil {
		return err
	}
	if !cfg.HostNetwork {
		var err error
		if s.rec.Addresses, err = r.cfg.Network.AddPod(ctx, id, r.namespace(id, "net"), s.pod(), cfg.UID); err != nil {
			return fmt.Errorf("setting up the network: %w", err)
		}
	}
	if err := r.sysctls(id, cfg); err != nil {
		return err
	}
	if sharesOwn(cfg) {
		if err := r.pause(ctx, s); err != nil {
			return fmt.Errorf("starting the process that holds the pod's process space: %w", err)
		}
	}
	s.rec.Made = true
	return r.save(s)
}

// sharesOwn reports whether the sandbox has a process space that its containers
// share.
func sharesOwn(cfg *runtime.SandboxConfig) bool { return cfg.ShareProcesses && !cfg.HostPID }

func (r *Runtime) save(s *sandbox) error {
	return shim.Write(r.dir.Sandbox(s.rec.ID, sandboxFile), &s.rec)
}

// writeFiles writes what containers see as /etc/hostname and /etc/resolv.conf.
func (r *Runtime) writeFiles(id string, cfg *runtime.SandboxConfig) error {
	if err := os.WriteFile(r.dir.Sandbox(id, "hostname"), []byte(hostname(cfg)+"\n"), 0o644); err != nil {
		return err
	}
	var resolv strings.Builder
	if d := cfg.DNS; d != nil {
		if len(d.Searches) > 0 {
			fmt.Fprintf(&resolv, "search %s\n", strings.Join(d.Searches, " "))
		}
		for _, s := range d.Servers {
			fmt.Fprintf(&resolv, "nameserver %s\n", s)
		}
		if len(d.Options) > 0 {
			fmt.Fprintf(&resolv, "options %s\n", strings.Join(d.Options, " "))
		}
	} else if b, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		resolv.Write(b)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(r.dir.Sandbox(id, "resolv.conf"), []byte(resolv.String()), 0o644)
}

// hostname is the sandbox's name on the network: the node's on the node's.
func hostname(cfg *runtime.SandboxConfig) string {
	if cfg.HostNetwork {
		if name, err := os.Hostname(); err == nil {
			return name
		}
	}
	return cfg.Hostname
}

// StopSandbox ends the sandbox's containers and takes its network down.
func (r *Runtime) StopSandbox(ctx context.Context, id string) error {
	r.mu.Lock()
	s := r.sandboxes[id]
	r.mu.Unlock()
	if s == nil {
		return nil
	}
	s.op.Lock()
	defer s.op.Unlock()
	return r.stopLocked(ctx, s)
}

// stopLocked needs s.op.
func (r *Runtime) stopLocked(ctx context.Context, s *sandbox) error {
	id := s.rec.ID
	r.mu.Lock()
	s.ready = false
	r.mu.Unlock()
	if s.rec.Stopped {
		return nil
	}
	for _, c := range r.containersOf(id) {
		if err := r.StopContainer(ctx, c.rec.ID, 0); err != nil {
			return fmt.Errorf("stopping sandbox %s: %w", id, err)
		}
	}
	if err := r.loosen(ctx, &s.rec); err != nil {
		return fmt.Errorf("stopping sandbox %s: %w", id, err)
	}
	s.rec.Stopped = true
	if err := r.save(s); err != nil {
		return fmt.Errorf("stopping sandbox %s: %w", id, err)
	}
	r.notify(s.rec.Config.UID)
	return nil
}

// loosen takes away what a sandbox holds of the machine.
func (r *Runtime) loosen(ctx context.Context, rec *sandboxRecord) error {
	if _, err := os.Stat(r.dir.Container(rec.ID)); err == nil { // the pause process
		if err := r.discard(ctx, rec.ID); err != nil {
			return err
		}
	}
	if err := r.cfg.Network.DelPod(ctx, rec.ID); err != nil {
		return fmt.Errorf("taking down the network: %w", err)
	}
	for _, ns := range namespaces {
		if err := unmount(r.namespace(rec.ID, ns)); err != nil {
			return err
		}
	}
	return unmount(r.dir.Sandbox(rec.ID, "shm"))
}

// dismantle takes away a sandbox that is not known, as far as it goes.
func (r *Runtime) dismantle(ctx context.Context, id string) {
	err := r.loosen(ctx, &sandboxRecord{ID: id})
	if err == nil {
		err = os.RemoveAll(r.dir.Sandbox(id))
	}
	if err != nil {
		r.cfg.Log.Warn("taking a half-made sandbox away", "sandbox", id, "err", err)
	}
}

// RemoveSandbox removes the sandbox with its containers.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	r.mu.Lock()
	s := r.sandboxes[id]
	r.mu.Unlock()
	if s == nil {
		return nil
	}
	s.op.Lock()
	defer s.op.Unlock()
	if err := r.stopLocked(ctx, s); err != nil {
		return err
	}
	r.mu.Lock()
	s.gone = true // no container is added from now on
	r.mu.Unlock()
	for _, c := range r.containersOf(id) {
		if err := r.RemoveContainer(ctx, c.rec.ID); err != nil {
			return fmt.Errorf("removing sandbox %s: %w", id, err)
		}
	}
	if err := os.RemoveAll(r.dir.Sandbox(id)); err != nil {
		return fmt.Errorf("removing sandbox %s: %w", id, err)
	}
	r.mu.Lock()
	delete(r.sandboxes, id)
	r.mu.Unlock()
	r.notify(s.rec.Config.UID)
	return nil
}

// unmount takes a mount away; a path that is none is fine.
func unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmounting %s: %w", path, err)
	}
	return nil
}
