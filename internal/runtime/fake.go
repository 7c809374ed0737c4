package runtime

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
)

// FakeConfig is the script of a Fake. The zero value starts everything at once
// and nothing ever ends by itself.
type FakeConfig struct {
	// How long each call takes.
	SandboxDelay, CreateDelay, StartDelay, PullDelay time.Duration
	// Behave says how a container acts once it is started; nil: it runs for ever
	// and ends at once, with 0, on the stop signal.
	Behave func(cfg *ContainerConfig) FakeBehaviour
	// Sandbox sees what each sandbox is made with; may be nil.
	Sandbox func(cfg *SandboxConfig)
	// Addresses are what a new sandbox gets; nil: none.
	Addresses func(cfg *SandboxConfig) []netip.Addr
	// Fail returns the error a call ends with, nil for none. op is the method's
	// name; on names the pod ("ns/name"), the container or the image.
	Fail func(op, on string) error
	// Exec runs a command in a container; nil: it succeeds and says nothing.
	Exec func(ctx context.Context, c *Container, cmd []string) (stdout, stderr []byte, code int, err error)
	// Missing are references no registry has; Images are here from the start.
	Missing, Images []string
	// StreamURL is what Exec, Attach and PortForward return.
	StreamURL *url.URL
	// CapacityBytes is the size of the images' file system; 0: 100 GiB.
	CapacityBytes int64
}

// FakeBehaviour is what one fake container does.
type FakeBehaviour struct {
	RunFor     time.Duration // it exits after this; 0: it does not
	ExitCode   int32         // of its own end
	Reason     string        // of its own end; empty: as the exit code says
	IgnoreTerm bool          // only the kill at the end of the grace ends it
	TermCode   int32         // its exit code on the stop signal
	ExitAtOnce bool          // it exits the moment it is started
}

// Fake is a Runtime in memory, for tests and for hollow nodes. Its time is the
// package time's: in a synctest bubble it is the bubble's. Safe for concurrent
// use.
type Fake struct {
	cfg FakeConfig

	mu         sync.Mutex
	serial     int
	sandboxes  map[string]*fakeSandbox
	containers map[string]*fakeContainer
	images     map[string]*Image // by reference
	watchers   map[int]chan types.UID
	calls      map[string]int
	down       error
}

type fakeSandbox struct {
	Sandbox
	cfg       SandboxConfig
	addresses []netip.Addr
}

type fakeContainer struct {
	Container
	sandbox string
	cfg     ContainerConfig
	does    FakeBehaviour
	timer   *time.Timer
	ended   chan struct{} // closed at its exit
}

// NewFake returns a fake that has cfg.Images.
func NewFake(cfg FakeConfig) *Fake {
	f := &Fake{
		cfg: cfg, sandboxes: map[string]*fakeSandbox{}, containers: map[string]*fakeContainer{},
		images: map[string]*Image{}, watchers: map[int]chan types.UID{}, calls: map[string]int{},
	}
	for _, ref := range cfg.Images {
		f.images[ref] = fakeImage(ref)
	}
	return f
}

// Calls returns how often the method was called.
func (f *Fake) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// Config returns what the newest container of the name was made with, nil if
// there is none.
func (f *Fake) Config(pod types.UID, container string) *ContainerConfig {
	f.mu.Lock()
	defer f.mu.Unlock()
	var newest *fakeContainer
	for _, c := range f.containers {
		s := f.sandboxes[c.sandbox]
		if s != nil && s.UID == pod && c.Name == container && (newest == nil || c.Attempt >= newest.Attempt) {
			newest = c
		}
	}
	if newest == nil {
		return nil
	}
	return &newest.cfg
}

// Kill ends a running container as a signal from outside would.
func (f *Fake) Kill(id string, code int32, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[id]; c != nil {
		f.exitLocked(c, code, reason)
	}
}

// KillSandbox makes a sandbox not ready, its containers ended, as a crash would.
func (f *Fake) KillSandbox(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sandboxes[id]; s != nil {
		f.stopSandboxLocked(s)
	}
}

// SetDown makes every call fail with err until it is called with nil.
func (f *Fake) SetDown(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// call counts a call, takes its time and fails it as the script says.
func (f *Fake) call(ctx context.Context, op, on string, delay time.Duration) error {
	f.mu.Lock()
	f.calls[op]++
	down := f.down
	f.mu.Unlock()
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if down != nil {
		return down
	}
	if f.cfg.Fail != nil {
		return f.cfg.Fail(op, on)
	}
	return nil
}

// RunSandbox makes a sandbox; an equal one that is ready is returned again.
func (f *Fake) RunSandbox(ctx context.Context, cfg *SandboxConfig) (string, error) {
	if err := f.call(ctx, "RunSandbox", cfg.Namespace+"/"+cfg.Name, f.cfg.SandboxDelay); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sandboxes {
		if s.UID == cfg.UID && s.Attempt == cfg.Attempt && s.Name == cfg.Name && s.Namespace == cfg.Namespace {
			return "", &kind.Error{Kind: kind.Exists, Op: "running sandbox", Object: cfg.Namespace + "/" + cfg.Name}
		}
	}
	if f.cfg.Sandbox != nil {
		f.cfg.Sandbox(cfg)
	}
	s := &fakeSandbox{cfg: *cfg, Sandbox: Sandbox{
		ID: f.idLocked("sandbox"), Name: cfg.Name, Namespace: cfg.Namespace, UID: cfg.UID, Attempt: cfg.Attempt,
		Ready: true, Created: time.Now(), Labels: maps.Clone(cfg.Labels), Annotations: maps.Clone(cfg.Annotations),
	}}
	if f.cfg.Addresses != nil {
		s.addresses = f.cfg.Addresses(cfg)
	}
	f.sandboxes[s.ID] = s
	f.tellLocked(s.UID)
	return s.ID, nil
}

// StopSandbox ends the sandbox's containers and makes it not ready.
func (f *Fake) StopSandbox(ctx context.Context, id string) error {
	if err := f.call(ctx, "StopSandbox", id, 0); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sandboxes[id]; s != nil && s.Ready {
		f.stopSandboxLocked(s)
	}
	return nil
}

// RemoveSandbox removes the sandbox and its containers.
func (f *Fake) RemoveSandbox(ctx context.Context, id string) error {
	if err := f.call(ctx, "RemoveSandbox", id, 0); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sandboxes[id]
	if s == nil {
		return nil
	}
	f.stopSandboxLocked(s)
	for cid, c := range f.containers {
		if c.sandbox == id {
			delete(f.containers, cid)
		}
	}
	delete(f.sandboxes, id)
	f.tellLocked(s.UID)
	return nil
}

func (f *Fake) stopSandboxLocked(s *fakeSandbox) {
	for _, c := range f.containers {
		if c.sandbox == s.ID {
			f.exitLocked(c, 137, "Error")
		}
	}
	s.Ready = false
	f.tellLocked(s.UID)
}

// CreateContainer makes a container of an image that is here.
func (f *Fake) CreateContainer(ctx context.Context, sandboxID string, sandbox *SandboxConfig, cfg *ContainerConfig) (string, error) {
	if err := f.call(ctx, "CreateContainer", cfg.Name, f.cfg.CreateDelay); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sandboxes[sandboxID]
	if s == nil {
		return "", notFound("creating container in sandbox", sandboxID)
	}
	if !s.Ready {
		return "", kind.New(kind.Unavailable, "creating container in sandbox %s: it does not run", sandboxID)
	}
	img := f.findImageLocked(cfg.Image)
	if img == nil {
		return "", notFound("creating container of image", cfg.Image)
	}
	for _, c := range f.containers {
		if c.sandbox == sandboxID && c.Name == cfg.Name && c.Attempt == cfg.Attempt {
			return "", &kind.Error{Kind: kind.Exists, Op: "creating container", Object: cfg.Name}
		}
	}
	c := &fakeContainer{cfg: *cfg, sandbox: sandboxID, ended: make(chan struct{}), Container: Container{
		ID: f.idLocked("container"), Name: cfg.Name, Attempt: cfg.Attempt, State: Created, ImageID: img.ID,
		ImageRef: cmp.Or(cfg.ImageRef, cfg.Image), Created: time.Now(), Labels: maps.Clone(cfg.Labels), Annotations: maps.Clone(cfg.Annotations),
		LogPath: s.cfg.LogDir + "/" + cfg.LogPath,
	}}
	if f.cfg.Behave != nil {
		c.does = f.cfg.Behave(cfg)
	}
	f.containers[c.ID] = c
	f.tellLocked(s.UID)
	return c.ID, nil
}

// StartContainer starts a created container.
func (f *Fake) StartContainer(ctx context.Context, id string) error {
	if err := f.call(ctx, "StartContainer", id, f.cfg.StartDelay); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	switch {
	case c == nil:
		return notFound("starting container", id)
	case c.State == Running:
		return nil
	case c.State == Exited:
		return kind.New(kind.Invalid, "starting container %s: it has exited", id)
	}
	c.State, c.Started = Running, time.Now()
	switch {
	case c.does.ExitAtOnce:
		f.exitLocked(c, c.does.ExitCode, c.does.Reason)
	case c.does.RunFor > 0:
		c.timer = time.AfterFunc(c.does.RunFor, func() { f.Kill(id, c.does.ExitCode, c.does.Reason) })
	}
	f.tellContainerLocked(c)
	return nil
}

// UpdateContainer changes the limits of a running container.
func (f *Fake) UpdateContainer(ctx context.Context, id string, r Resources) error {
	if err := f.call(ctx, "UpdateContainer", id, 0); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil || c.State != Running {
		return notFound("changing the limits of container", id)
	}
	c.cfg.Resources = r
	return nil
}

// Limits returns what limits the container now, nothing if there is none.
func (f *Fake) Limits(id string) Resources {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[id]; c != nil {
		return c.cfg.Resources
	}
	return Resources{}
}

// StopContainer sends the stop signal and kills after grace.
func (f *Fake) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	if err := f.call(ctx, "StopContainer", id, 0); err != nil {
		return err
	}
	f.mu.Lock()
	c := f.containers[id]
	if c == nil || c.State == Exited {
		f.mu.Unlock()
		return nil
	}
	if c.State == Created || !c.does.IgnoreTerm && grace > 0 {
		f.exitLocked(c, c.does.TermCode, "")
		f.mu.Unlock()
		return nil
	}
	f.mu.Unlock()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-t.C:
		f.Kill(id, 137, "Error")
	case <-c.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// RemoveContainer removes a container.
func (f *Fake) RemoveContainer(ctx context.Context, id string) error {
	if err := f.call(ctx, "RemoveContainer", id, 0); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil {
		return nil
	}
	f.exitLocked(c, 137, "Error")
	delete(f.containers, id)
	f.tellContainerLocked(c)
	return nil
}

func (f *Fake) exitLocked(c *fakeContainer, code int32, reason string) {
	if c.State == Exited {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	if reason == "" {
		reason = "Completed"
		if code != 0 {
			reason = "Error"
		}
	}
	c.State, c.ExitCode, c.Reason, c.Finished = Exited, code, reason, time.Now()
	close(c.ended)
	f.tellContainerLocked(c)
}

// List returns every sandbox with its containers, oldest first.
func (f *Fake) List(ctx context.Context) ([]Sandbox, error) {
	if err := f.call(ctx, "List", "", 0); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]Sandbox, 0, len(f.sandboxes))
	for _, s := range f.sandboxes {
		one := s.Sandbox
		for _, c := range f.containers {
			if c.sandbox == s.ID {
				one.Containers = append(one.Containers, c.Container)
			}
		}
		slices.SortFunc(one.Containers, func(a, b Container) int {
			return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
		})
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Sandbox) int { return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID)) })
	return out, nil
}

// Container returns one container, kind.NotFound if it is gone.
func (f *Fake) Container(ctx context.Context, id string) (*Container, error) {
	if err := f.call(ctx, "Container", id, 0); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil {
		return nil, notFound("asking the state of container", id)
	}
	one := c.Container
	return &one, nil
}

// eventsMax is how far a reader of Events may fall behind before it is told to
// list again.
const eventsMax = 256

// Events yields the UID of each pod that changed, first an empty one.
func (f *Fake) Events(ctx context.Context) iter.Seq2[types.UID, error] {
	return func(yield func(types.UID, error) bool) {
		f.mu.Lock()
		f.serial++
		n, ch := f.serial, make(chan types.UID, eventsMax)
		f.watchers[n] = ch
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.watchers, n)
		}()
		if !yield("", nil) {
			return
		}
		for {
			select {
			case uid := <-ch:
				if !yield(uid, nil) {
					return
				}
			case <-ctx.Done():
				yield("", ctx.Err())
				return
			}
		}
	}
}

func (f *Fake) tellContainerLocked(c *fakeContainer) {
	if s := f.sandboxes[c.sandbox]; s != nil {
		f.tellLocked(s.UID)
	}
}

func (f *Fake) tellLocked(uid types.UID) {
	for _, ch := range f.watchers {
		select {
		case ch <- uid:
		default: // full: the oldest makes room for a word that some were lost
			select {
			case <-ch:
			default:
			}
			select {
			case ch <- "":
			default:
			}
		}
	}
}

// Stats returns a fixed use for each running container.
func (f *Fake) Stats(ctx context.Context) ([]Usage, error) {
	if err := f.call(ctx, "Stats", "", 0); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Usage
	for _, c := range f.containers {
		s := f.sandboxes[c.sandbox]
		if c.State != Running || s == nil {
			continue
		}
		out = append(out, Usage{
			ContainerID: c.ID, PodUID: s.UID, Pod: types.NamespacedName{Namespace: s.Namespace, Name: s.Name}, Container: c.Name,
			CPUNanoTotal: uint64(time.Since(c.Started) / 100), CPUNano: 1e7, MemoryBytes: 16 << 20, Time: time.Now(),
		})
	}
	slices.SortFunc(out, func(a, b Usage) int { return strings.Compare(a.ContainerID, b.ContainerID) })
	return out, nil
}

// Check fails only while the fake is down.
func (f *Fake) Check(ctx context.Context) error { return f.call(ctx, "Check", "", 0) }

func (f *Fake) idLocked(what string) string {
	f.serial++
	return fmt.Sprintf("%s-%d", what, f.serial)
}

func notFound(op, object string) error {
	return &kind.Error{Kind: kind.NotFound, Op: op, Object: object}
}

// ExecSync runs the script's Exec.
func (f *Fake) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, code int, err error) {
	c, err := f.running(ctx, "ExecSync", id)
	if err != nil || f.cfg.Exec == nil {
		return nil, nil, 0, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	stdout, stderr, code, err = f.cfg.Exec(ctx, c, cmd)
	if err == nil && ctx.Err() != nil {
		err = kind.New(kind.Timeout, "executing in container %s: %w", id, ctx.Err())
	}
	return stdout, stderr, code, err
}

func (f *Fake) running(ctx context.Context, op, id string) (*Container, error) {
	if err := f.call(ctx, op, id, 0); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil {
		return nil, notFound("reaching container", id)
	}
	if c.State != Running {
		return nil, kind.New(kind.Unavailable, "reaching container %s: it does not run", id)
	}
	one := c.Container
	return &one, nil
}

// Exec returns the script's StreamURL.
func (f *Fake) Exec(ctx context.Context, id string, _ StreamOptions) (*url.URL, error) {
	_, err := f.running(ctx, "Exec", id)
	return f.cfg.StreamURL, err
}

// Attach returns the script's StreamURL.
func (f *Fake) Attach(ctx context.Context, id string, _ StreamOptions) (*url.URL, error) {
	_, err := f.running(ctx, "Attach", id)
	return f.cfg.StreamURL, err
}

// PortForward returns the script's StreamURL.
func (f *Fake) PortForward(ctx context.Context, sandboxID string, _ []int32) (*url.URL, error) {
	return f.cfg.StreamURL, f.call(ctx, "PortForward", sandboxID, 0)
}

// ReopenLog does nothing: a fake container writes no log.
func (f *Fake) ReopenLog(ctx context.Context, id string) error {
	_, err := f.running(ctx, "ReopenLog", id)
	return err
}

var _ Runtime = (*Fake)(nil)
