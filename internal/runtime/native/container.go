package native

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/runtime/shim"
)

const (
	containerFile = "container.json"
	killWait      = 10 * time.Second // for a killed container to be gone
)

// containerRecord is a container on the disk.
type containerRecord struct {
	ID          string               `json:"id"`
	Sandbox     string               `json:"sandbox"`
	Pod         types.NamespacedName `json:"pod"`
	UID         types.UID            `json:"uid"`
	Name        string               `json:"name"`
	Attempt     uint32               `json:"attempt"`
	ImageID     string               `json:"imageID"`
	ImageRef    string               `json:"imageRef"`
	Chain       string               `json:"chain"` // of the image's layers
	Created     time.Time            `json:"created"`
	LogPath     string               `json:"logPath"`
	Labels      map[string]string    `json:"labels,omitempty"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	TTY         bool                 `json:"tty,omitempty"`
	Hold        bool                 `json:"hold,omitempty"` // its input must outlive the shim
	StopSignal  int                  `json:"stopSignal"`
	Cgroups     []string             `json:"cgroups"`
}

type container struct {
	op     sync.Mutex // held while it is started and removed
	rec    containerRecord
	exited chan struct{} // closed when it has ended

	// Guarded by Runtime.mu.
	state   runtime.State
	started shim.State
	exit    shim.Exit
	held    *os.File // what Hold asks for, while it runs
}

func newContainer(rec containerRecord) *container {
	return &container{rec: rec, exited: make(chan struct{}), state: runtime.Created}
}

// refresh takes over what the shim's files say of a container.
func (r *Runtime) refresh(c *container) {
	exit, err := shim.Read[shim.Exit](r.dir.Container(c.rec.ID, shim.ExitFile))
	ended := err == nil
	started, err := shim.Read[shim.State](r.dir.Container(c.rec.ID, shim.StateFile))
	running := err == nil
	r.mu.Lock()
	was := c.state
	if running && c.state == runtime.Created {
		c.state, c.started = runtime.Running, started
	}
	if ended && c.state != runtime.Exited {
		c.state, c.exit = runtime.Exited, exit
		close(c.exited)
		c.held.Close() // nil is fine
	}
	changed := c.state != was
	r.mu.Unlock()
	if changed {
		r.notify(c.rec.UID)
	}
}

// CreateContainer prepares a container's folder; nothing runs yet.
func (r *Runtime) CreateContainer(ctx context.Context, sandboxID string, sandbox *runtime.SandboxConfig, cfg *runtime.ContainerConfig) (string, error) {
	id, err := r.createContainer(ctx, sandboxID, sandbox, cfg)
	if err != nil {
		return "", &kind.Error{Kind: kind.Of(err), Op: "creating container", Object: sandbox.Namespace + "/" + sandbox.Name + "/" + cfg.Name, Err: err}
	}
	r.notify(sandbox.UID)
	return id, nil
}

func (r *Runtime) createContainer(ctx context.Context, sandboxID string, sandbox *runtime.SandboxConfig, cfg *runtime.ContainerConfig) (string, error) {
	c := newContainer(containerRecord{
		ID: newID(), Sandbox: sandboxID, Pod: types.NamespacedName{Namespace: sandbox.Namespace, Name: sandbox.Name}, UID: sandbox.UID,
		Name: cfg.Name, Attempt: cfg.Attempt, ImageRef: cfg.ImageRef, Created: time.Now(),
		Labels: cfg.Labels, Annotations: cfg.Annotations, TTY: cfg.TTY,
		Hold: cfg.TTY || cfg.Stdin && !cfg.StdinOnce,
	})
	c.op.Lock() // nobody starts it before it is prepared
	defer c.op.Unlock()
	if err := r.enter(c); err != nil {
		return "", err
	}
	if err := r.prepare(ctx, c, sandbox, cfg); err != nil {
		r.clear(c.rec.ID)
		r.mu.Lock()
		delete(r.containers, c.rec.ID)
		r.mu.Unlock()
		return "", err
	}
	return c.rec.ID, nil
}

// enter makes a container known; there is one for each name and attempt in a
// sandbox.
func (r *Runtime) enter(c *container) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[c.rec.Sandbox]
	switch {
	case s == nil || s.gone:
		return kind.New(kind.NotFound, "no sandbox %s", c.rec.Sandbox)
	case !s.ready:
		return kind.New(kind.Invalid, "sandbox %s does not run", c.rec.Sandbox)
	}
	for _, other := range r.containers {
		if other.rec.Sandbox == c.rec.Sandbox && other.rec.Name == c.rec.Name && other.rec.Attempt == c.rec.Attempt {
			return kind.New(kind.Exists, "attempt %d is container %s", c.rec.Attempt, other.rec.ID)
		}
	}
	r.containers[c.rec.ID] = c
	return nil
}

// prepare writes the container's folder: root file system, bundle, records.
func (r *Runtime) prepare(ctx context.Context, c *container, sandbox *runtime.SandboxConfig, cfg *runtime.ContainerConfig) error {
	image, err := r.template(ctx, cfg.Image)
	if err != nil {
		return err
	}
	rec := &c.rec
	rec.ImageID, rec.Chain = image.ImageID, image.Chain
	if rec.StopSignal, err = stopSignal(cmp.Or(cfg.StopSignal, image.Config.StopSignal)); err != nil {
		return err
	}
	if cfg.LogPath != "" && sandbox.LogDir != "" {
		rec.LogPath = filepath.Join(sandbox.LogDir, cfg.LogPath)
	}
	if err := r.mountRoot(ctx, rec); err != nil {
		return err
	}
	b := &builder{r: r, rec: rec, sandbox: sandbox, cfg: cfg, image: &image.Config, root: r.dir.Container(rec.ID, "rootfs")}
	spec, err := b.spec()
	if err != nil {
		return err
	}
	rec.Cgroups = r.groups(spec.Linux.CgroupsPath)
	for _, f := range []struct {
		name  string
		value any
	}{
		{shim.ConfigFile, spec},
		{shim.RecordFile, shim.Record{
			Runtime: r.cfg.Runtime, LogPath: rec.LogPath, TTY: cfg.TTY, Stdin: cfg.Stdin, StdinOnce: cfg.StdinOnce,
			Cgroups: rec.Cgroups, OwnProcesses: !sandbox.HostPID && !sandbox.ShareProcesses,
		}},
		{containerFile, rec}, // the last: what has it is whole
	} {
		if err := shim.Write(r.dir.Container(rec.ID, f.name), f.value); err != nil {
			return err
		}
	}
	return nil
}

func stopSignal(name string) (int, error) {
	if name == "" {
		return int(unix.SIGTERM), nil
	}
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return n, nil
	}
	upper := strings.ToUpper(name)
	if !strings.HasPrefix(upper, "SIG") {
		upper = "SIG" + upper
	}
	for base, first := range map[string]int{"SIGRTMIN": 34, "SIGRTMAX": 64} { // SIGRTMIN+3, systemd's
		if upper == base {
			return first, nil
		}
		n, ok := strings.CutPrefix(upper, base)
		if i, err := strconv.Atoi(n); ok && err == nil && first+i >= 34 && first+i <= 64 { // +3, -2
			return first + i, nil
		}
	}
	if n := unix.SignalNum(upper); n != 0 {
		return int(n), nil
	}
	return 0, kind.New(kind.Invalid, "the stop signal %q is unknown", name)
}

// StartContainer starts a created container; one that runs is left alone.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	const op = "starting container"
	c := r.container(id)
	if c == nil {
		return &kind.Error{Kind: kind.NotFound, Op: op, Object: id}
	}
	c.op.Lock()
	defer c.op.Unlock()
	switch state := r.stateOf(c); state {
	case runtime.Running:
		return nil
	case runtime.Exited:
		return &kind.Error{Kind: kind.Invalid, Op: op, Object: id, Err: kind.New(kind.Invalid, "it has ended")}
	}
	if err := r.shim.Run(ctx, id); err != nil {
		return &kind.Error{Kind: kind.Of(err), Op: op, Object: id, Err: err}
	}
	r.refresh(c)
	r.hold(ctx, c)
	return nil
}

// hold holds a container's input, or its terminal, beside the shim, and gives it
// to a shim that replaced the one it came from.
func (r *Runtime) hold(ctx context.Context, c *container) {
	if !c.rec.Hold {
		return
	}
	r.mu.Lock()
	have := c.held
	r.mu.Unlock()
	got, err := r.shim.Hold(ctx, c.rec.ID, have)
	if err != nil {
		if !kind.Is(err, kind.NotFound) { // it has ended
			r.cfg.Log.Warn("holding a container's input", "container", c.rec.ID, "err", err)
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.state != runtime.Running || have != nil {
		got.Close()
		return
	}
	c.held = got
}

// StopContainer sends the stop signal, and kills after grace; zero kills at once.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	c := r.container(id)
	if c == nil || r.stateOf(c) != runtime.Running {
		return nil
	}
	if err := r.end(ctx, c, grace); err != nil {
		return &kind.Error{Kind: kind.Of(err), Op: "stopping container", Object: id, Err: err}
	}
	return nil
}

func (r *Runtime) end(ctx context.Context, c *container, grace time.Duration) error {
	if grace > 0 {
		if err := r.signal(ctx, c, unix.Signal(c.rec.StopSignal)); err != nil {
			return err
		}
		if done, err := c.ended(ctx, grace); done || err != nil {
			return err
		}
	}
	if err := r.signal(ctx, c, unix.SIGKILL); err != nil {
		return err
	}
	done, err := c.ended(ctx, killWait)
	if !done && err == nil {
		err = kind.New(kind.Timeout, "it does not end within %v of SIGKILL", killWait)
	}
	return err
}

func (r *Runtime) signal(ctx context.Context, c *container, sig unix.Signal) error {
	err := r.shim.Signal(ctx, c.rec.ID, sig)
	if kind.Is(err, kind.NotFound) { // it has just ended
		r.refresh(c)
		return nil
	}
	return err
}

// ended waits for the container to end, at most limit.
func (c *container) ended(ctx context.Context, limit time.Duration) (bool, error) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c.exited:
		return true, nil
	case <-t.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// RemoveContainer removes a container, killing it if it runs.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	c := r.container(id)
	if c == nil {
		return nil
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := r.discard(ctx, id); err != nil {
		return &kind.Error{Kind: kind.Of(err), Op: "removing container", Object: id, Err: err}
	}
	r.mu.Lock()
	if c.state != runtime.Exited { // whoever waits for its end
		c.state = runtime.Exited
		close(c.exited)
	}
	_, known := r.containers[id]
	delete(r.containers, id)
	r.mu.Unlock()
	if known {
		r.notify(c.rec.UID)
		r.releaseLayers(ctx, c.rec.Chain)
	}
	return nil
}

// discard ends what runs in a container's folder and removes it.
func (r *Runtime) discard(ctx context.Context, id string) error {
	if _, err := os.Stat(r.dir.Container(id, shim.RecordFile)); err == nil {
		if err := r.shim.Delete(ctx, id); err != nil {
			return err
		}
	}
	return r.wipe(id)
}

// wipe removes a container's folder, of which nothing runs.
func (r *Runtime) wipe(id string) error {
	if err := unmount(r.dir.Container(id, "rootfs")); err != nil {
		return err
	}
	// The folder is renamed first: a half of it would look like a container.
	trash := r.dir.Container("." + id)
	if err := os.Rename(r.dir.Container(id), trash); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(trash)
}

// clear is wipe for what was never started, as far as it goes.
func (r *Runtime) clear(id string) {
	if err := r.wipe(strings.TrimPrefix(id, ".")); err != nil {
		r.cfg.Log.Warn("taking a half-made container away", "container", id, "err", err)
	}
}

// pause runs the process that holds a sandbox's process space: a container of
// the sandbox's own ID, which is not listed.
func (r *Runtime) pause(ctx context.Context, s *sandbox) error {
	cfg := &runtime.ContainerConfig{Name: "pause", Image: r.cfg.PauseImage, ImageRef: r.cfg.PauseImage, MaskedPaths: true, Resources: runtime.Resources{CPUShares: 2, OOMScoreAdj: pauseScore}}
	alone := s.rec.Config
	alone.ShareProcesses, alone.LogDir = false, ""
	c := newContainer(containerRecord{ID: s.rec.ID, Sandbox: s.rec.ID, Name: cfg.Name, Created: time.Now()})
	if err := r.prepare(ctx, c, &alone, cfg); err != nil {
		return err
	}
	if err := os.Remove(r.dir.Container(s.rec.ID, containerFile)); err != nil {
		return err
	}
	return r.shim.Run(ctx, s.rec.ID)
}

// pauseScore makes the kernel spare the process when memory runs out, as CRI
// servers do.
const pauseScore = -998

// pausePid returns the process that holds a sandbox's process space.
func (r *Runtime) pausePid(id string) (int, error) {
	pid, err := r.pidOf(id)
	if err != nil {
		return 0, fmt.Errorf("looking for the process that holds the pod's process space: %w", err)
	}
	return pid, nil
}

// pidOf returns a container's first process.
func (r *Runtime) pidOf(id string) (int, error) {
	state, err := shim.Read[shim.State](r.dir.Container(id, shim.StateFile))
	if err != nil || !state.Alive() {
		return 0, kind.New(kind.Unavailable, "%s has ended", id)
	}
	return state.Pid, nil
}

func (r *Runtime) container(id string) *container {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.containers[id]
}

func (r *Runtime) stateOf(c *container) runtime.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.state
}

// containersOf returns a sandbox's containers, in no order.
func (r *Runtime) containersOf(sandbox string) []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*container
	for _, c := range r.containers {
		if c.rec.Sandbox == sandbox {
			out = append(out, c)
		}
	}
	return out
}

// process returns the OCI process of a container, to run another like it.
func (r *Runtime) process(id string, cmd []string, tty bool) (json.RawMessage, error) {
	spec, err := shim.Read[specs.Spec](r.dir.Container(id, shim.ConfigFile))
	if err != nil {
		return nil, fmt.Errorf("reading the container's configuration: %w", err)
	}
	p := spec.Process
	p.Args, p.Terminal = cmd, tty
	p.Env = slices.DeleteFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "TERM=") })
	if tty {
		p.Env = append(p.Env, "TERM=xterm")
	}
	return json.Marshal(p)
}
