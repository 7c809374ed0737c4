package mirror

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"trireme/internal/kind"
)

// cluster is a manager's registry with one image.
type cluster struct {
	blobs map[digest.Digest]string
	peers []string
	asked atomic.Int32 // for blobs that are no manifest
	away  bool
}

const (
	manifest = `{"schemaVersion":2,"layers":[]}`
	layer    = "the layer of the image"
)

var layerDigest = digest.FromString(layer)

func newCluster(peers ...string) *cluster {
	return &cluster{peers: peers, blobs: map[digest.Digest]string{digest.FromString(manifest): manifest, layerDigest: layer}}
}

func (c *cluster) Image(_ context.Context, ref string) (ocispec.Descriptor, []string, error) {
	switch {
	case c.away:
		return ocispec.Descriptor{}, nil, kind.New(kind.Unavailable, "no session")
	case ref != "docker.io/library/web:1":
		return ocispec.Descriptor{}, nil, kind.New(kind.NotFound, "the cluster holds no image %s", ref)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(manifest), Size: int64(len(manifest))}, c.peers, nil
}

func (c *cluster) Content(_ context.Context, d string, offset int64) (io.ReadCloser, int64, error) {
	b, ok := c.blobs[digest.Digest(d)]
	if !ok {
		return nil, 0, kind.New(kind.NotFound, "no %s", d)
	}
	if b == layer {
		c.asked.Add(1)
	}
	return io.NopCloser(strings.NewReader(b[offset:])), int64(len(b)), nil
}

func newMirror(t *testing.T, c *cluster, trust ...*httptest.Server) (m *Mirror, get func(path string, header ...string) (*http.Response, string)) {
	pool := x509.NewCertPool()
	for _, s := range trust {
		pool.AddCert(s.Certificate())
	}
	m = New(Config{Source: c, Dir: t.TempDir(), TLS: func() *tls.Config { return &tls.Config{RootCAs: pool} }, Log: slog.New(slog.DiscardHandler)})
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	return m, func(path string, header ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", m.authorization())
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			return nil, err.Error()
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err.Error()
		}
		return resp, string(b)
	}
}

// peer is another agent that answers every blob with the text.
func peer(t *testing.T, code int, text string) (s *httptest.Server, address string) {
	s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s, s.Listener.Addr().String()
}

const (
	web  = "/v2/library/web/manifests/1?ns=docker.io"
	blob = "/v2/library/web/blobs/"
)

func TestWhatTheClusterHoldsIsServed(t *testing.T) {
	_, get := newMirror(t, newCluster())
	if resp, body := get(web); body != manifest || resp.Header.Get("Content-Type") != ocispec.MediaTypeImageManifest ||
		resp.Header.Get("Docker-Content-Digest") != string(digest.FromString(manifest)) {
		t.Errorf("the manifest: %q, %v", body, resp)
	}
	if _, body := get(blob + string(layerDigest) + "?ns=docker.io"); body != layer {
		t.Errorf("the layer: %q", body)
	}
	resp, body := get(blob+string(layerDigest)+"?ns=docker.io", "Range", "bytes=4-")
	if resp.StatusCode != http.StatusPartialContent || body != layer[4:] {
		t.Errorf("the layer from byte 4: %d %q", resp.StatusCode, body)
	}
}

func TestAllElseIsLeftToTheRegistry(t *testing.T) {
	c := newCluster()
	_, get := newMirror(t, c)
	for _, path := range []string{
		"/v2/library/web/manifests/2?ns=docker.io", "/v2/library/web/manifests/1?ns=quay.io",
		blob + string(layerDigest) + "?ns=docker.io", // nobody asked for its manifest
		blob + "sha256:short?ns=docker.io", "/v2/library/web/tags/list?ns=docker.io",
		"/v2/library/web/manifests/" + string(digest.FromString("else")) + "?ns=docker.io",
	} {
		if resp, body := get(path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d %q", path, resp.StatusCode, body)
		}
	}
	c.away = true
	if resp, _ := get(web); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without a manager: %d", resp.StatusCode)
	}
}

func TestOnlyTheRuntimeIsAnswered(t *testing.T) {
	_, get := newMirror(t, newCluster())
	for _, a := range []string{"", "Bearer", "Bearer wrong"} {
		if resp, _ := get(web, "Authorization", a); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: %d", a, resp.StatusCode)
		}
	}
}

// TestPeers: another agent's copy is taken where it is right; where it is not,
// that agent is left out from then on and the manager's is taken.
func TestPeers(t *testing.T) {
	good, goodAt := peer(t, http.StatusOK, layer)
	for name, tt := range map[string]struct {
		code  int
		text  string
		first string // what the first answer is; empty: it may be cut off
		asked int32  // how often the manager is in two answers
	}{
		"right":   {http.StatusOK, layer, layer, 0},
		"none":    {http.StatusNotFound, "no such content", layer, 2},
		"refuses": {http.StatusForbidden, "", layer, 2},
		"lies":    {http.StatusOK, strings.ToUpper(layer), "", 2},
		"short":   {http.StatusOK, layer[:5], "", 2},
	} {
		s, at := peer(t, tt.code, tt.text)
		c := newCluster(at)
		_, get := newMirror(t, c, s, good)
		get(web)
		resp, body := get(blob + string(layerDigest) + "?ns=docker.io")
		if tt.first == "" && resp != nil && body == tt.text && len(body) == len(layer) {
			t.Errorf("%s: what is wrong was handed over as whole: %q", name, body)
		}
		if tt.first != "" && body != tt.first {
			t.Errorf("%s: got %q", name, body)
		}
		if _, body := get(blob + string(layerDigest) + "?ns=docker.io"); body != layer {
			t.Errorf("%s, again: got %q", name, body)
		}
		if n := c.asked.Load(); n != tt.asked {
			t.Errorf("%s: the manager was asked %d times, want %d", name, n, tt.asked)
		}
	}
	gone, goneAt := peer(t, http.StatusOK, "")
	gone.Close()
	c := newCluster(goneAt, goodAt)
	_, get := newMirror(t, c, good)
	get(web)
	if _, body := get(blob + string(layerDigest) + "?ns=docker.io"); body != layer || c.asked.Load() != 0 {
		t.Errorf("with one agent away: %q, the manager was asked %d times", body, c.asked.Load())
	}
}

func TestTheRuntimeIsTold(t *testing.T) {
	c := newCluster()
	m, _ := newMirror(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	path := filepath.Join(m.cfg.Dir, "_default", "hosts.toml")
	var b []byte
	for len(b) == 0 && t.Context().Err() == nil {
		b, _ = os.ReadFile(path)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	_, rest, _ := bytes.Cut(b, []byte(`[host."`))
	url, _, _ := bytes.Cut(rest, []byte(`"`))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, string(url)+web, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", m.authorization())
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(b, []byte(m.authorization())) {
		t.Errorf("%v, %v, file %s", resp, err, b)
	} else {
		resp.Body.Close()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func FuzzOffset(f *testing.F) {
	f.Add("bytes=4-")
	f.Add("bytes=0-1,2-3")
	f.Fuzz(func(t *testing.T, header string) {
		if n := offsetOf(header); n < 0 {
			t.Errorf("%q: %d", header, n)
		}
	})
}
