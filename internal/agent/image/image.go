package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// The waiting reasons of a container whose image is not here, in Kubernetes'
// words.
const (
	ReasonPull      = "ErrImagePull"
	ReasonBackOff   = "ImagePullBackOff"
	ReasonNever     = "ErrImageNeverPull"
	ReasonName      = "InvalidImageName"
	ReasonInspect   = "ImageInspectError"
	pullTimeMessage = "Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes."
)

// Error says why there is no image. NotBefore is when asking again makes sense.
type Error struct {
	Reason    string
	NotBefore time.Time
	Err       error
}

// Error returns the cause alone: the reason is reported beside it.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Config is what a Manager needs.
type Config struct {
	Runtime runtime.Runtime
	// BackOffMin and BackOffMax bound the pause after a failed pull; 0: 10 s and 5 min.
	BackOffMin, BackOffMax time.Duration
	// InUse returns the IDs of the images that containers of this node use.
	InUse func() map[string]bool
	Keep  string // a name that is never collected; may be empty
	// PullsMax is how many images are pulled at a time; 0: as many as are wanted.
	PullsMax int
	Log      *slog.Logger
}

// Manager brings and collects images. Safe for concurrent use.
type Manager struct {
	cfg   Config
	slots chan struct{} // of pulls; nil: no limit

	mu      sync.Mutex
	known   map[string]found     // by reference
	pulls   map[string]*pull     // under way, by reference and credentials
	failed  map[string]failure   // likewise
	lastUse map[string]time.Time // by ID
}

type found struct {
	image *runtime.Image
	until time.Time
}

type pull struct {
	done  chan struct{}
	image *runtime.Image
	err   error
	took  time.Duration
}

type failure struct {
	pause     time.Duration
	notBefore time.Time
	err       error
}

// knownFor is how long an image that was found is taken to be there.
const knownFor = 10 * time.Second

// New returns a manager.
func New(cfg Config) *Manager {
	if cfg.BackOffMin == 0 {
		cfg.BackOffMin = 10 * time.Second
	}
	if cfg.BackOffMax == 0 {
		cfg.BackOffMax = 5 * time.Minute
	}
	m := &Manager{
		cfg: cfg, known: map[string]found{}, pulls: map[string]*pull{}, failed: map[string]failure{}, lastUse: map[string]time.Time{},
	}
	if cfg.PullsMax > 0 {
		m.slots = make(chan struct{}, cfg.PullsMax)
	}
	return m
}

// Request is what a container asks for.
type Request struct {
	Ref         string
	Policy      corev1.PullPolicy // empty: as the API defaults it
	Credentials []runtime.Credentials
	// Provide returns more credentials, tried after the others; asked only when the image
	// is pulled. nil: there are no more. Requests of the same Asker get the same ones.
	Provide func(context.Context) ([]runtime.Credentials, error)
	Asker   string
	Sandbox *runtime.SandboxConfig
	// Tell reports the steps in Kubernetes' words; nil: nobody listens.
	Tell func(eventType, reason, message string)
}

// Ensure returns the image, pulled if its policy asks for that. The error is an
// *Error unless ctx ended.
func (m *Manager) Ensure(ctx context.Context, r Request) (*runtime.Image, error) {
	if r.Tell == nil {
		r.Tell = func(string, string, string) {}
	}
	if _, err := name.ParseReference(r.Ref, name.WeakValidation); err != nil {
		err = fmt.Errorf("Failed to apply default image tag %q: couldn't parse image name %q: %w", r.Ref, r.Ref, err) //nolint:staticcheck // Kubernetes' words
		r.Tell(corev1.EventTypeWarning, "InspectFailed", err.Error())
		return nil, &Error{Reason: ReasonName, Err: err}
	}
	policy := policyOf(r)
	if policy != corev1.PullAlways {
		img, err := m.here(ctx, r.Ref)
		switch {
		case err == nil:
			r.Tell(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", r.Ref))
			return img, nil
		case !kind.Is(err, kind.NotFound):
			return nil, &Error{Reason: ReasonInspect, Err: fmt.Errorf("failed to inspect image %q: %w", r.Ref, err)}
		case policy == corev1.PullNever:
			err := fmt.Errorf("Container image %q is not present with pull policy of Never", r.Ref) //nolint:staticcheck // Kubernetes' words
			r.Tell(corev1.EventTypeWarning, "ErrImageNeverPull", err.Error())
			return nil, &Error{Reason: ReasonNever, Err: err}
		}
	}
	return m.pull(ctx, r)
}

// policyOf defaults the policy: Always for the tag latest, else IfNotPresent.
func policyOf(r Request) corev1.PullPolicy {
	if r.Policy != "" {
		return r.Policy
	}
	if strings.Contains(r.Ref, "@") {
		return corev1.PullIfNotPresent
	}
	if i := strings.LastIndexByte(r.Ref, ':'); i <= strings.LastIndexByte(r.Ref, '/') || r.Ref[i:] == ":latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// here returns the image if it is on the node.
func (m *Manager) here(ctx context.Context, ref string) (*runtime.Image, error) {
	m.mu.Lock()
	k, ok := m.known[ref]
	m.mu.Unlock()
	if ok && time.Now().Before(k.until) {
		return k.image, nil
	}
	img, err := m.cfg.Runtime.Image(ctx, ref)
	if err != nil {
		return nil, err
	}
	m.remember(ref, img)
	return img, nil
}

func (m *Manager) remember(ref string, img *runtime.Image) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[ref] = found{img, time.Now().Add(knownFor)}
	m.lastUse[img.ID] = time.Now()
	m.forgiveLocked(ref)
}

// forgiveLocked lets the reference be pulled at once, whoever asks.
func (m *Manager) forgiveLocked(ref string) {
	for key := range m.failed {
		if strings.HasPrefix(key, ref+"\x00") {
			delete(m.failed, key)
		}
	}
}

// Forget makes the next Ensure ask the runtime: it said that the image is gone.
func (m *Manager) Forget(ref string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, ref)
}

// pull joins a pull of the reference that is under way, or makes one.
func (m *Manager) pull(ctx context.Context, r Request) (*runtime.Image, error) {
	began := time.Now()
	key := r.Ref + "\x00" + r.Asker + fmt.Sprint(r.Credentials) // another's credentials must not open a registry for one that has none
	m.mu.Lock()
	if f, ok := m.failed[key]; ok && time.Now().Before(f.notBefore) {
		m.mu.Unlock()
		r.Tell(corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", r.Ref))
		return nil, &Error{Reason: ReasonBackOff, NotBefore: f.notBefore, Err: fmt.Errorf("Back-off pulling image %q: %w", r.Ref, f.err)} //nolint:staticcheck // Kubernetes' words
	}
	p, joined := m.pulls[key]
	if !joined {
		p = &pull{done: make(chan struct{})}
		m.pulls[key] = p
	}
	m.mu.Unlock()
	r.Tell(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", r.Ref))
	if joined {
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	} else {
		m.lead(ctx, key, p, r)
	}
	if p.err != nil && joined && errors.Is(p.err, context.Canceled) {
		return m.pull(ctx, r) // who led it went away: lead it now
	}
	return m.pulled(r, key, p, began)
}

// lead makes the pull that others wait for.
func (m *Manager) lead(ctx context.Context, key string, p *pull, r Request) {
	p.image, p.took, p.err = m.bring(ctx, r)
	if p.err == nil {
		m.remember(r.Ref, p.image)
	}
	m.mu.Lock()
	delete(m.pulls, key)
	if p.err != nil && ctx.Err() == nil {
		f := m.failed[key]
		f.pause = min(max(f.pause*2, m.cfg.BackOffMin), m.cfg.BackOffMax)
		f.notBefore, f.err = time.Now().Add(f.pause), p.err
		m.failed[key] = f
	}
	m.mu.Unlock()
	close(p.done)
}

// bring pulls an image once there is room for one more, and says how long that took
// from then on.
func (m *Manager) bring(ctx context.Context, r Request) (*runtime.Image, time.Duration, error) {
	if m.slots != nil {
		select {
		case m.slots <- struct{}{}:
			defer func() { <-m.slots }()
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
	began := time.Now()
	creds := slices.Clone(r.Credentials)
	var lack error // of credentials
	if r.Provide != nil {
		var more []runtime.Credentials
		more, lack = r.Provide(ctx)
		creds = append(creds, more...)
	}
	id, err := m.cfg.Runtime.Pull(ctx, r.Ref, creds, r.Sandbox)
	if err != nil && lack != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w; %w", err, lack)
	}
	if err != nil {
		return nil, 0, err
	}
	img, err := m.cfg.Runtime.Image(ctx, id)
	return img, time.Since(began), err
}

func (m *Manager) pulled(r Request, key string, p *pull, began time.Time) (*runtime.Image, error) {
	if p.err == nil {
		r.Tell(corev1.EventTypeNormal, "Pulled", fmt.Sprintf(pullTimeMessage, r.Ref,
			p.took.Truncate(time.Millisecond), time.Since(began).Truncate(time.Millisecond), p.image.SizeBytes))
		return p.image, nil
	}
	if errors.Is(p.err, context.Canceled) {
		return nil, p.err
	}
	m.mu.Lock()
	notBefore := m.failed[key].notBefore
	m.mu.Unlock()
	err := fmt.Errorf("failed to pull image %q: %w", r.Ref, p.err)
	r.Tell(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", r.Ref, p.err))
	r.Tell(corev1.EventTypeWarning, "Failed", "Error: "+ReasonPull)
	return nil, &Error{Reason: ReasonPull, NotBefore: notBefore, Err: err}
}

// Import brings the images of an archive and returns their names.
func (m *Manager) Import(ctx context.Context, archive io.Reader) ([]string, error) {
	names, err := m.cfg.Runtime.Import(ctx, archive)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range names {
		delete(m.known, n)
		m.forgiveLocked(n)
	}
	return names, err
}

// Pull brings an image, also one that is here, for somebody who is no container.
func (m *Manager) Pull(ctx context.Context, ref string, creds []runtime.Credentials) (*runtime.Image, error) {
	m.mu.Lock()
	m.forgiveLocked(ref) // who asks waits for the answer
	m.mu.Unlock()
	return m.Ensure(ctx, Request{Ref: ref, Policy: corev1.PullAlways, Credentials: creds})
}

// Tag gives the image that ref names another name.
func (m *Manager) Tag(ctx context.Context, ref, as string) error {
	err := m.cfg.Runtime.Tag(ctx, ref, as)
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.known) // by as, another one may have been known
	return err
}

// Untag takes a name away; the last one of an image that a container uses stays:
// kind.Conflict.
func (m *Manager) Untag(ctx context.Context, ref string) error {
	img, err := m.cfg.Runtime.Image(ctx, ref)
	if err != nil {
		return err
	}
	if len(img.Names) <= 1 {
		return m.Remove(ctx, ref)
	}
	if err := m.cfg.Runtime.Untag(ctx, ref); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.known)
	return nil
}

// List returns the images that are here.
func (m *Manager) List(ctx context.Context) ([]runtime.Image, error) {
	return m.cfg.Runtime.ListImages(ctx)
}

// Descriptor returns the manifest or index that a reference names.
func (m *Manager) Descriptor(ctx context.Context, ref string) (ocispec.Descriptor, error) {
	return m.cfg.Runtime.Descriptor(ctx, ref)
}

// Content opens what lies under a digest.
func (m *Manager) Content(ctx context.Context, digest string, offset int64) (io.ReadCloser, int64, error) {
	return m.cfg.Runtime.Content(ctx, digest, offset)
}

// Remove removes the image that ref names; kind.Conflict while a container uses it.
func (m *Manager) Remove(ctx context.Context, ref string) error {
	img, err := m.cfg.Runtime.Image(ctx, ref)
	if err != nil {
		return err
	}
	if m.cfg.InUse()[img.ID] {
		return kind.New(kind.Conflict, "image %s is in use", ref)
	}
	return m.remove(ctx, img.ID)
}

func (m *Manager) remove(ctx context.Context, id string) error {
	if err := m.cfg.Runtime.RemoveImage(ctx, id); err != nil {
		return fmt.Errorf("removing image %s: %w", id, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.lastUse, id)
	for ref, k := range m.known {
		if k.image.ID == id {
			delete(m.known, ref)
		}
	}
	return nil
}
