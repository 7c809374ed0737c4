package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// agent is a node's agent with an image store.
type agent struct {
	*httptest.Server
	mu    sync.Mutex
	names map[string]ocispec.Descriptor
	blobs map[digest.Digest][]byte
	lies  bool
}

func newAgent(t *testing.T) *agent {
	a := &agent{names: map[string]ocispec.Descriptor{}, blobs: map[digest.Digest][]byte{}}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

func (a *agent) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d, ok := strings.CutPrefix(r.URL.Path, "/images/content/"); ok {
		b, ok := a.blobs[digest.Digest(d)]
		if !ok {
			http.Error(w, "no such content", http.StatusNotFound)
			return
		}
		if a.lies {
			b = bytes.ToUpper(b)
		}
		w.Write(b)
		return
	}
	d, ok := a.names[r.URL.Query().Get("ref")]
	if !ok {
		http.Error(w, "no such image", http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(d)
}

func (a *agent) blob(mediaType string, b []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	a.blobs[d.Digest] = b
	return d
}

// image gives the agent an image of one layer below an index that names another
// platform too, which the agent does not have.
func (a *agent) image(t *testing.T, ref, layer string) ocispec.Descriptor {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: a.blob(ocispec.MediaTypeImageConfig, []byte(`{"os":"linux"}`)),
		Layers: []ocispec.Descriptor{a.blob(ocispec.MediaTypeImageLayerGzip, []byte(layer))},
	}
	absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("arm " + layer), Size: 9}
	a.names[ref] = a.blob(ocispec.MediaTypeImageIndex, encode(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{a.blob(ocispec.MediaTypeImageManifest, encode(m)), absent},
	}))
	return a.names[ref]
}

type world struct {
	*testing.T
	store *store.Store
	reg   *Registry
	dir   string
	agent *agent
}

func newWorld(t *testing.T) *world {
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, store: s, dir: t.TempDir(), agent: newAgent(t)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	w.start(ctx, &running)
	running.Go(func() { _ = s.Run(ctx) }) // ends with the test
	t.Cleanup(func() { cancel(); running.Wait() })
	host, port, err := net.SplitHostPort(w.agent.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}}
	if _, err := fmt.Sscan(port, &n.Status.DaemonEndpoints.KubeletEndpoint.Port); err != nil {
		t.Fatal(err)
	}
	w.update(func(tx *store.Tx) { tables.Nodes.Put(tx, n) })
	return w
}

func (w *world) start(ctx context.Context, running *sync.WaitGroup) {
	w.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(w.agent.Certificate())
	var err error
	w.reg, err = Open(w.store, Config{Dir: w.dir, TLS: &tls.Config{RootCAs: pool}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.Fatal(err)
	}
	running.Go(func() {
		if err := w.reg.Run(ctx); !errors.Is(err, context.Canceled) {
			w.Errorf("Run: %v", err)
		}
	})
}

func (w *world) update(f func(*store.Tx)) {
	w.Helper()
	if _, err := w.store.Update(w.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		w.Fatal(err)
	}
}

// put writes an Image as the API would, and returns its name.
func (w *world) put(spec ImageSpec, generation int64) string {
	w.Helper()
	_, name, err := Name(spec.Reference)
	if err != nil {
		w.Fatal(err)
	}
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&spec)
	if err != nil {
		w.Fatal(err)
	}
	w.update(func(tx *store.Tx) {
		u, ok := tables.CustomObjects.Get(tx, keyOf(name))
		if ok {
			u = u.DeepCopy()
		} else {
			u = &unstructured.Unstructured{Object: map[string]any{}}
			u.SetGroupVersionKind(Resource.GroupVersion().WithKind("Image"))
			u.SetName(name)
		}
		u.Object["spec"] = raw
		u.SetGeneration(generation)
		tables.CustomObjects.PutAt(tx, keyOf(name), u)
	})
	return name
}

// await waits for the condition of a generation and returns it.
func (w *world) await(name string, generation int64, want metav1.ConditionStatus) *metav1.Condition {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	var c *metav1.Condition
	found := errors.New("found")
	err := w.store.Follow(ctx, tables.CustomObjects.Any(), func(object.Key) error {
		i := w.reg.image(w.store.Snapshot(), name)
		if i == nil {
			return nil
		}
		c = meta.FindStatusCondition(i.Status.Conditions, ConditionReady)
		if c != nil && c.ObservedGeneration == generation && c.Status == want {
			return found
		}
		return nil
	})
	if !errors.Is(err, found) {
		w.Fatalf("%s is never %s: %v, last %+v", name, want, err, c)
	}
	return c
}

func (w *world) read(d digest.Digest) string {
	w.Helper()
	body, size, err := w.reg.Content(w.Context(), string(d))
	if err != nil {
		return fmt.Sprint(kind.Of(err))
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil || int64(len(b)) != size {
		w.Errorf("%d bytes of %d, %v", len(b), size, err)
	}
	return string(b)
}

const web = "docker.io/library/web:1"

func TestAnImageIsCopiedReplacedAndRemoved(t *testing.T) {
	w := newWorld(t)
	first := w.agent.image(t, web, "layer one")
	name := w.put(ImageSpec{web, string(first.Digest), "n1"}, 1)
	w.await(name, 1, metav1.ConditionTrue)
	d, _, err := w.reg.Image(web)
	if err != nil || d.Digest != first.Digest || d.MediaType != ocispec.MediaTypeImageIndex {
		t.Fatalf("got %+v, %v", d, err)
	}
	layer := digest.FromString("layer one")
	if got := w.read(layer); got != "layer one" {
		t.Errorf("the layer: %s", got)
	}
	second := w.agent.image(t, web, "layer two")
	w.put(ImageSpec{web, string(second.Digest), "n1"}, 2)
	w.await(name, 2, metav1.ConditionTrue)
	if d, _, err := w.reg.Image(web); err != nil || d.Digest != second.Digest {
		t.Errorf("after the second push: %s, %v", d.Digest, err)
	}
	w.update(func(tx *store.Tx) { tables.CustomObjects.Delete(tx, keyOf(name)) })
	if _, _, err := w.reg.Image(web); !kind.Is(err, kind.NotFound) {
		t.Errorf("a removed image: %v", err)
	}
	if err := w.reg.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(w.dir, "blobs", "sha256", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left on the disk: %v, %v", left, err)
	}
}

func TestAFailureIsToldAndTriedAgain(t *testing.T) {
	w := newWorld(t)
	d := w.agent.image(t, web, "layer")
	for i, tt := range []struct {
		spec ImageSpec
		want string
	}{
		{ImageSpec{web, string(d.Digest), "n2"}, "spec.source: there is no node n2"},
		{ImageSpec{web, string(digest.FromString("other")), "n1"}, "push the image again"},
	} {
		name := w.put(tt.spec, int64(i+1))
		if c := w.await(name, int64(i+1), metav1.ConditionFalse); !strings.Contains(c.Message, tt.want) {
			t.Errorf("%+v: %q", tt.spec, c.Message)
		}
	}
	w.agent.mu.Lock()
	w.agent.lies = true
	w.agent.mu.Unlock()
	name := w.put(ImageSpec{web, string(d.Digest), "n1"}, 3)
	if c := w.await(name, 3, metav1.ConditionFalse); !strings.Contains(c.Message, "from node n1: ") || !strings.Contains(c.Message, "mismatched digest") {
		t.Errorf("of an agent that lies: %q", c.Message)
	}
	w.agent.mu.Lock()
	w.agent.lies = false
	w.agent.mu.Unlock()
	w.await(name, 3, metav1.ConditionTrue)
}

func TestWhatIsOnDiskIsServedAfterARestart(t *testing.T) {
	w := newWorld(t)
	d := w.agent.image(t, web, "layer")
	w.await(w.put(ImageSpec{web, string(d.Digest), "n1"}, 1), 1, metav1.ConditionTrue)
	again, err := Open(w.store, w.reg.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _, err := again.Image(web); err != nil || got.Digest != d.Digest {
		t.Errorf("got %s, %v", got.Digest, err)
	}
	if got := w.read(digest.FromString("layer")); got != "layer" {
		t.Errorf("the layer after a sweep: %s", got)
	}
}

func TestPeersAreNodesThatAreReadyAndHaveIt(t *testing.T) {
	w := newWorld(t)
	w.update(func(tx *store.Tx) {
		for i, status := range []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionUnknown, corev1.ConditionTrue} {
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", i)}}
			n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.0.0.%d", i)}}
			n.Status.DaemonEndpoints.KubeletEndpoint.Port = 10250
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
			if i < 2 {
				n.Status.Images = []corev1.ContainerImage{{Names: []string{web, "docker.io/library/web@sha256:aa"}}}
			}
			tables.Nodes.Put(tx, n)
		}
	})
	if got := fmt.Sprint(w.reg.peers.of("sha256:aa")); got != "[10.0.0.0:10250]" {
		t.Errorf("got %s", got)
	}
}

func TestNames(t *testing.T) {
	seen := map[string]string{}
	for _, ref := range []string{"web", "web:1", "web-1", "example.com:5000/a/b:1", "example.com/a/b:1", "docker.io/library/x.y_z:V1"} {
		whole, name, err := Name(ref)
		if err != nil || len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("%s: %q, %v", ref, name, err)
		}
		if other := seen[name]; other != "" {
			t.Errorf("%s and %s are both %s", ref, other, name)
		}
		seen[name] = ref
		if again, same, err := Name(whole); again != whole || same != name || err != nil {
			t.Errorf("%s: the whole name %s gives %s, %s, %v", ref, whole, again, same, err)
		}
	}
	for _, ref := range []string{"", "UPPER", "a b", "x@sha256:1", strings.Repeat("a", 300)} {
		if _, _, err := Name(ref); !kind.Is(err, kind.Invalid) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestContentOutsideTheStoreIsRefused(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(filepath.Join(w.dir, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"", "../secret", "sha256:../../secret", "sha256:" + strings.Repeat("0", 63) + "/", "sha512:../../../secret"} {
		if _, _, err := w.reg.Content(t.Context(), d); !kind.Is(err, kind.Invalid) {
			t.Errorf("%q: %v", d, err)
		}
	}
}

func TestTheDefinitionIsWhatTheTypeSays(t *testing.T) {
	d, err := Definition()
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != Resource.Resource+"."+Resource.Group || d.Spec.Versions[0].Name != Resource.Version {
		t.Errorf("%s %s", d.Name, d.Spec.Versions[0].Name)
	}
	b, err := json.Marshal(Image{Spec: ImageSpec{"a", "b", "c"}, Status: ImageStatus{SizeBytes: 1, Conditions: []metav1.Condition{{}}}})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"spec", "status"} {
		known := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties[part].Properties
		for name := range fields[part].(map[string]any) {
			if _, ok := known[name]; !ok {
				t.Errorf("%s.%s is not in the definition", part, name)
			}
		}
	}
}
