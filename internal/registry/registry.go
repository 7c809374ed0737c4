package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// Config is what a Registry needs; all is required.
type Config struct {
	Dir string      // of the images; made if it is missing
	TLS *tls.Config // shown to agents
	Log *slog.Logger
}

const (
	atOnce   = 4 // copies
	retryMin = time.Second
	retryMax = 5 * time.Minute
)

// Registry keeps the cluster's images on this manager's disk.
type Registry struct {
	cfg     Config
	store   *store.Store
	content *oci.Store
	agents  *agents
	peers   peers
	slots   chan struct{}
	// sweeping keeps copies, which hold it for reading, from losing blobs that
	// nothing names yet.
	sweeping sync.RWMutex

	mu      sync.Mutex
	copying map[string]*copying // by name of the Image
}

// copying is an image on its way.
type copying struct {
	cancel  context.CancelFunc
	changed chan struct{} // the Image did: look again now
}

// Open returns a registry of what is in the folder.
func Open(s *store.Store, cfg Config) (*Registry, error) {
	content, err := oci.New(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the images in %s: %w", cfg.Dir, err)
	}
	content.AutoSaveIndex = true
	return &Registry{
		cfg: cfg, store: s, content: content, agents: newAgents(cfg.TLS), peers: peers{store: s},
		slots: make(chan struct{}, atOnce), copying: map[string]*copying{},
	}, nil
}

// Run brings what Images ask for and removes what none asks for, until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	swept := make(chan struct{}, 1)
	swept <- struct{}{}
	g.Go(func() error {
		for {
			select {
			case <-swept:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
				r.cfg.Log.Error("removing images that nobody names", "err", err)
			}
		}
	})
	g.Go(func() error {
		return r.store.Follow(ctx, tables.CustomObjects.Any(), func(key object.Key) error {
			place := tables.ParseCustomKey(key)
			if place.Group != Resource.Group || place.Plural != Resource.Resource {
				return nil
			}
			if _, ok := tables.CustomObjects.Row(r.store.Snapshot(), key); !ok {
				r.abandon(place.Name)
				select {
				case swept <- struct{}{}:
				default:
				}
				return nil
			}
			r.start(ctx, g, place.Name)
			return nil
		})
	})
	return g.Wait()
}

// start begins to bring an image, unless it is here or on its way.
func (r *Registry) start(ctx context.Context, g *errgroup.Group, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.copying[name]; c != nil {
		select {
		case c.changed <- struct{}{}:
		default:
		}
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &copying{cancel, make(chan struct{}, 1)}
	r.copying[name] = c
	g.Go(func() error {
		defer cancel()
		r.bring(ctx, name, c)
		return nil
	})
}

// abandon ends the copy of an image that nobody asks for any more.
func (r *Registry) abandon(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.copying[name]; c != nil {
		c.cancel()
		delete(r.copying, name)
	}
}

// bring makes the disk and the status follow the Image until both do.
func (r *Registry) bring(ctx context.Context, name string, c *copying) {
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		done, err := r.follow(ctx, name, c)
		switch {
		case done:
			return
		case err == nil:
			wait = retryMin
			continue
		}
		select {
		case <-time.After(wait):
		case <-c.changed:
			wait = retryMin
		case <-ctx.Done():
			return // abandoned, or all ends
		}
	}
}

// follow takes one step: done says that the Image was as it should be, and that
// the next change to it starts anew.
func (r *Registry) follow(ctx context.Context, name string, c *copying) (done bool, err error) {
	r.mu.Lock()
	image := r.image(r.store.Snapshot(), name)
	if image == nil || (r.has(ctx, image) && meta.IsStatusConditionTrue(image.Status.Conditions, ConditionReady) && observed(image)) {
		if r.copying[name] == c {
			delete(r.copying, name)
		}
		r.mu.Unlock()
		return true, nil
	}
	r.mu.Unlock()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	size, err := r.copy(ctx, image)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		r.cfg.Log.Warn("copying an image", "object", name, "from", image.Spec.Source, "err", err)
	}
	if said := r.say(ctx, image, size, err); said != nil {
		return false, said
	}
	return false, err
}

func observed(i *Image) bool {
	c := meta.FindStatusCondition(i.Status.Conditions, ConditionReady)
	return c != nil && c.ObservedGeneration == i.Generation
}

// image returns the Image of the name, nil where there is none that can be read.
func (r *Registry) image(from store.Reader, name string) *Image {
	u, ok := tables.CustomObjects.Get(from, keyOf(name))
	if !ok || u.GetDeletionTimestamp() != nil {
		return nil
	}
	i, err := decode(u)
	if err != nil {
		r.cfg.Log.Error("an image object that breaks its own definition", "object", name, "err", err)
		return nil
	}
	return i
}

func (r *Registry) has(ctx context.Context, i *Image) bool {
	d, err := r.content.Resolve(ctx, i.Name)
	return err == nil && string(d.Digest) == i.Spec.Digest
}

// copy copies the image from its node to the disk and returns how many bytes it
// has.
func (r *Registry) copy(ctx context.Context, i *Image) (int64, error) {
	r.sweeping.RLock()
	defer r.sweeping.RUnlock()
	node, ok := tables.Nodes.Get(r.store.Snapshot(), object.Key{Name: i.Spec.Source})
	if !ok {
		return 0, kind.New(kind.NotFound, "spec.source: there is no node %s", i.Spec.Source)
	}
	address := wire.AgentAddress(node)
	if address == "" {
		return 0, kind.New(kind.Unavailable, "node %s has not said yet where its agent answers", node.Name)
	}
	from := source{r.agents, address}
	root, err := from.Descriptor(ctx, i.Spec.Reference)
	if err != nil {
		return 0, err
	}
	if string(root.Digest) != i.Spec.Digest {
		return 0, kind.New(kind.Conflict, "spec.digest: node %s has %s under this name: push the image again", node.Name, root.Digest)
	}
	var mu sync.Mutex
	var size int64
	count := func(_ context.Context, d ocispec.Descriptor) error {
		mu.Lock()
		defer mu.Unlock()
		size += d.Size
		return nil
	}
	if err := oras.CopyGraph(ctx, from, r.content, root, oras.CopyGraphOptions{
		FindSuccessors: from.here, PostCopy: count, OnCopySkipped: count,
	}); err != nil {
		return 0, fmt.Errorf("copying %s from node %s: %w", i.Spec.Reference, node.Name, err)
	}
	return size, r.content.Tag(ctx, root, i.Name)
}

// say writes the status of what became of a copy.
func (r *Registry) say(ctx context.Context, i *Image, size int64, failed error) error {
	_, err := r.store.Update(ctx, func(tx *store.Tx) error {
		u, ok := tables.CustomObjects.Get(tx, keyOf(i.Name))
		if !ok || u.GetUID() != i.UID {
			return nil
		}
		u = u.DeepCopy()
		now, err := decode(u)
		if err != nil {
			return err
		}
		c := metav1.Condition{Type: ConditionReady, Status: metav1.ConditionTrue, Reason: "Copied", ObservedGeneration: i.Generation, LastTransitionTime: metav1.NewTime(tx.Now())}
		if failed != nil {
			c.Status, c.Reason, c.Message = metav1.ConditionFalse, "CopyFailed", failed.Error()
		} else {
			now.Status.SizeBytes = size
		}
		if !meta.SetStatusCondition(&now.Status.Conditions, c) && failed != nil {
			return nil
		}
		status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&now.Status)
		if err != nil {
			return err
		}
		u.Object["status"] = status
		tables.CustomObjects.PutAt(tx, keyOf(i.Name), u)
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing the status of image %s: %w", i.Name, err)
	}
	return nil
}

// sweep removes what no Image names.
func (r *Registry) sweep(ctx context.Context) error {
	r.sweeping.Lock()
	defer r.sweeping.Unlock()
	var old []string
	err := r.content.Tags(ctx, "", func(names []string) error {
		for _, name := range names {
			if _, ok := tables.CustomObjects.Row(r.store.Snapshot(), keyOf(name)); !ok {
				old = append(old, name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := r.content.Untag(ctx, name); err != nil {
			return err
		}
		r.cfg.Log.Info("image removed", "object", name)
	}
	return r.content.GC(ctx)
}

// Image returns what a whole reference names, and the agents (host:port) that
// have it; kind.NotFound where the cluster holds none.
func (r *Registry) Image(ref string) (ocispec.Descriptor, []string, error) {
	_, name, err := Name(ref)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	if _, ok := tables.CustomObjects.Row(r.store.Snapshot(), keyOf(name)); !ok {
		return ocispec.Descriptor{}, nil, kind.New(kind.NotFound, "the cluster holds no image %s", ref)
	}
	d, err := r.content.Resolve(context.Background(), name) // of a map in memory
	if err != nil {
		return d, nil, kind.New(kind.NotFound, "image %s is not here yet: `kubectl get image %s` says why", ref, name)
	}
	return d, r.peers.of(string(d.Digest)), nil
}

// Content opens what lies under a digest, and returns its size in bytes.
func (r *Registry) Content(ctx context.Context, dgst string) (io.ReadSeekCloser, int64, error) {
	d := digest.Digest(dgst)
	if err := d.Validate(); err != nil {
		return nil, 0, &kind.Error{Kind: kind.Invalid, Op: "reading digest", Object: dgst, Err: err}
	}
	body, err := r.content.Fetch(ctx, ocispec.Descriptor{Digest: d})
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, 0, &kind.Error{Kind: kind.NotFound, Op: "opening content", Object: dgst}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening content %s: %w", dgst, err)
	}
	seeker, ok := body.(io.ReadSeekCloser)
	if !ok {
		body.Close()
		return nil, 0, fmt.Errorf("opening content %s: %T has no end", dgst, body)
	}
	size, err := seeker.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = seeker.Seek(0, io.SeekStart)
	}
	if err != nil {
		seeker.Close()
		return nil, 0, fmt.Errorf("measuring content %s: %w", dgst, err)
	}
	return seeker, size, nil
}

// peers knows which agents have an image, as their nodes' status says.
type peers struct {
	store *store.Store

	mu    sync.Mutex
	until time.Time
	have  map[string][]string // addresses by digest
}

const (
	peersFor = 10 * time.Second // how long they are remembered
	peersMax = 3
)

// of returns some of the agents that have the digest, other ones each time.
func (p *peers) of(dgst string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.After(p.until) {
		p.have, p.until = p.look(), now.Add(peersFor)
	}
	all := p.have[dgst]
	if len(all) > peersMax {
		p.have[dgst] = append(slices.Clone(all[peersMax:]), all[:peersMax]...)
	}
	return all[:min(len(all), peersMax)]
}

func (p *peers) look() map[string][]string {
	have := map[string][]string{}
	for n := range tables.Nodes.All(p.store.Snapshot()) {
		address := wire.AgentAddress(n)
		if address == "" || !object.NodeReady(n) {
			continue
		}
		for _, image := range n.Status.Images {
			for _, name := range image.Names {
				if d := digestOf(name); d != "" && !slices.Contains(have[d], address) {
					have[d] = append(have[d], address)
				}
			}
		}
	}
	return have
}

// digestOf returns the digest of a name such as docker.io/library/web@sha256:…
func digestOf(name string) string {
	_, d, _ := strings.Cut(name, "@")
	return d
}
