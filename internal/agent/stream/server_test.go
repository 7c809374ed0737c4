package stream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

type fakePods struct{ dir, id string }

func (fakePods) Pods() []*corev1.Pod { return []*corev1.Pod{{}} }
func (f fakePods) Sandbox(k object.Key) (string, error) {
	return "", kind.New(kind.NotFound, "pod %s is not on this node", k)
}
func (f fakePods) Container(k object.Key, name string) (Container, error) {
	if k.Name != "p" || name != "c" {
		return Container{}, kind.New(kind.NotFound, "container %s not found in pod %s", name, k)
	}
	return Container{ID: f.id, Attempt: 1, Running: true, LogDir: f.dir}, nil
}

type fakeImages struct{}

func (fakeImages) Import(_ context.Context, r io.Reader) ([]string, error) {
	b, err := io.ReadAll(r)
	return []string{string(b)}, err
}
func (fakeImages) List(context.Context) ([]runtime.Image, error) {
	return []runtime.Image{{ID: "sha256:1", Names: []string{"web:1"}}}, nil
}
func (fakeImages) Descriptor(_ context.Context, ref string) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{MediaType: "m", Digest: digest.Digest(ref), Size: 7}, nil
}
func (fakeImages) Content(_ context.Context, d string, offset int64) (io.ReadCloser, int64, error) {
	if d != "sha256:here" {
		return nil, 0, kind.New(kind.NotFound, "no %s", d)
	}
	return io.NopCloser(strings.NewReader("content"[min(offset, 7):])), 7, nil
}
func (fakeImages) Pull(_ context.Context, ref string, creds []runtime.Credentials) (*runtime.Image, error) {
	return &runtime.Image{ID: "sha256:2", Names: []string{ref, creds[0].Username}}, nil
}
func (fakeImages) Tag(_ context.Context, ref, as string) error {
	return kind.New(kind.NotFound, "no %s to call %s", ref, as)
}
func (fakeImages) Untag(_ context.Context, ref string) error {
	return kind.New(kind.NotFound, "nothing is called %s", ref)
}
func (fakeImages) Remove(_ context.Context, ref string) error {
	return kind.New(kind.Conflict, "image %s is in use", ref)
}

// authority signs the test's certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) issue(org string) tls.Certificate {
	a.t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: "x", Organization: []string{org}},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: a.key}
}

func (a *authority) pool() *x509.CertPool { p := x509.NewCertPool(); p.AddCert(a.cert); return p }

// freePort finds a port that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

type site struct {
	ca   *authority
	addr string
}

func serve(t *testing.T, back *url.URL) *site {
	t.Helper()
	s := &site{newAuthority(t), freePort(t)}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "1.log"), []byte("2026-01-01T00:00:00Z stdout F hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fake := runtime.NewFake(runtime.FakeConfig{Images: []string{"i"}, StreamURL: back})
	sb, err := fake.RunSandbox(t.Context(), &runtime.SandboxConfig{UID: "u"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := fake.CreateContainer(t.Context(), sb, &runtime.SandboxConfig{}, &runtime.ContainerConfig{Name: "c", Image: "i"})
	if err == nil {
		err = fake.StartContainer(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	srv := New(Config{
		Listen: s.addr, TLS: &tls.Config{Certificates: []tls.Certificate{s.ca.issue("system:nodes")}, ClientCAs: s.ca.pool()},
		Runtime: fake, Pods: fakePods{dir, id}, Images: fakeImages{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Stats: func(context.Context) (*Summary, error) { return nil, kind.New(kind.Unavailable, "down") },
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func (s *site) client(org string) *http.Client {
	conf := &tls.Config{RootCAs: s.ca.pool()}
	if org != "" {
		conf.Certificates = []tls.Certificate{s.ca.issue(org)}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
}

// do tries until the server listens: only a refused connection is tried again.
func (s *site) do(t *testing.T, c *http.Client, method, path, body string) (int, string, error) {
	t.Helper()
	for {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil && strings.Contains(err.Error(), "connection refused") {
			continue
		}
		if err != nil {
			return 0, "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res.StatusCode, string(b), err
	}
}

func TestOnlyManagersAreAnswered(t *testing.T) {
	s := serve(t, nil)
	if code, body, err := s.do(t, s.client("system:masters"), "GET", "/healthz", ""); err != nil || code != 200 || body != "ok" {
		t.Errorf("a manager: %d %q %v", code, body, err)
	}
	if code, _, err := s.do(t, s.client("system:nodes"), "GET", "/healthz", ""); err != nil || code != http.StatusForbidden {
		t.Errorf("a node: %d %v", code, err)
	}
	if code, body, err := s.do(t, s.client("system:nodes"), "GET", "/images/content/sha256:here", ""); err != nil || code != 200 || body != "content" {
		t.Errorf("a node that pulls: %d %q %v", code, body, err)
	}
	if code, _, err := s.do(t, s.client("system:nodes"), "GET", "/images/content/../../pods", ""); err != nil || code == 200 {
		t.Errorf("a node that climbs: %d %v", code, err)
	}
	if code, _, err := s.do(t, s.client(""), "GET", "/healthz", ""); err == nil {
		t.Errorf("nobody: %d", code)
	}
	other := newAuthority(t)
	c := s.client("")
	c.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{other.issue("system:masters")}
	if code, _, err := s.do(t, c, "GET", "/healthz", ""); err == nil {
		t.Errorf("another authority's manager: %d", code)
	}
}

func TestPaths(t *testing.T) {
	s := serve(t, nil)
	c := s.client("system:masters")
	for _, tt := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/containerLogs/ns/p/c", "", 200, "hello\n"},
		{"GET", "/containerLogs/ns/p/c?tailLines=x", "", 400, "tailLines"},
		{"GET", "/containerLogs/ns/p/none", "", 404, "not found"},
		{"GET", "/containerLogs/ns/p/c?previous=true", "", 200, ""},
		{"GET", "/pods", "", 200, `"kind":"PodList"`},
		{"GET", "/stats/summary", "", 503, "down"},
		{"GET", "/images", "", 200, "web:1"},
		{"POST", "/images/import", "tar", 200, "tar"},
		{"GET", "/images/descriptor?ref=web:1", "", 200, `"digest":"web:1"`},
		{"GET", "/images/content/sha256:here?offset=3", "", 200, "tent"},
		{"GET", "/images/content/sha256:here?offset=8", "", 400, "beyond the end"},
		{"GET", "/images/content/sha256:here?offset=-1", "", 400, "offset"},
		{"GET", "/images/content/sha256:there", "", 404, "no sha256:there"},
		{"DELETE", "/images/reg.example/a/b:1", "", 409, "reg.example/a/b:1 is in use"},
		{"DELETE", "/images/reg.example/a/b:1?untag=1", "", 404, "nothing is called reg.example/a/b:1"},
		{"POST", "/images/tag?ref=a:1&as=b:2", "", 404, "no a:1 to call b:2"},
		{"POST", "/images/pull?ref=a:1", `[{"Username":"jane"}]`, 200, `"names":["a:1","jane"]`},
		{"POST", "/images/pull?ref=a:1", "[", 400, "reading credentials"},
		{"POST", "/exec/ns/p/c", "", 400, "at least 1 command"},
		{"POST", "/exec/ns/gone/c?command=x", "", 404, "not found"},
		{"POST", "/portForward/ns/p?port=80", "", 404, "not on this node"},
		{"GET", "/nothing", "", 404, ""},
	} {
		code, body, err := s.do(t, c, tt.method, tt.path, tt.body)
		if err != nil || code != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %q %v", tt.method, tt.path, code, body, err)
		}
	}
}

// TestExecIsHandedThrough upgrades through the agent to a server that echoes.
func TestExecIsHandedThrough(t *testing.T) {
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + r.Header.Get("Upgrade") + "\r\n\r\n")
		_ = rw.Flush()
		b := make([]byte, 5)
		if _, err := io.ReadFull(rw, b); err != nil {
			return
		}
		_, _ = conn.Write(bytes.ToUpper(b))
	}))
	defer back.Close()
	u, err := url.Parse(back.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, u)
	if _, _, err := s.do(t, s.client("system:masters"), "GET", "/healthz", ""); err != nil { // it listens
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: s.ca.pool(), Certificates: []tls.Certificate{s.ca.issue("system:masters")}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /exec/ns/p/c?command=sh&input=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", res, err)
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "HELLO" {
		t.Errorf("got %q %v", b, err)
	}
}
