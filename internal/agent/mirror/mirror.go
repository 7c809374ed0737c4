package mirror

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"trireme/internal/kind"
)

// Source is where the cluster's own images come from; *wire.Client is the real
// one.
type Source interface {
	// Image returns what a whole reference names, and the agents (host:port) that
	// have it; kind.NotFound where the cluster holds none.
	Image(ctx context.Context, ref string) (desc ocispec.Descriptor, peers []string, err error)
	// Content opens what lies under a digest, from an offset in bytes, and returns
	// the size of the whole.
	Content(ctx context.Context, digest string, offset int64) (io.ReadCloser, int64, error)
}

// Config is what a Mirror needs; all is required.
type Config struct {
	Source Source
	Dir    string // hosts.toml goes below it, for containerd to find
	TLS    func() *tls.Config
	Log    *slog.Logger
}

// Mirror is a registry for this node's container runtime.
type Mirror struct {
	cfg    Config
	secret string
	client *http.Client

	mu    sync.Mutex
	repos map[string]repo      // by host/path
	bad   map[string]time.Time // agents that sent something wrong, and until when to leave them alone
}

// repo is what was last pulled from a repository.
type repo struct {
	peers []string
	until time.Time
}

const (
	repoFor = 10 * time.Minute
	badFor  = 10 * time.Minute
	// manifestMax bounds what is read to find out a manifest's media type.
	manifestMax = 4 << 20
)

// New returns a mirror that does not listen yet.
func New(cfg Config) *Mirror {
	return &Mirror{
		cfg: cfg, secret: rand.Text(), repos: map[string]repo{}, bad: map[string]time.Time{},
		client: &http.Client{
			Transport: &http.Transport{
				DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					return (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 3 * time.Second}, Config: cfg.TLS()}).DialContext(ctx, network, addr)
				},
				ResponseHeaderTimeout: 5 * time.Second, IdleConnTimeout: time.Minute,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// hosts makes containerd ask the mirror first, for every registry that has no
// folder of its own beside it.
const hosts = `# Written by trireme at each start. A registry's own settings go into %s/HOST/hosts.toml.
[host.%q]
  capabilities = ["pull", "resolve"]
  [host.%q.header]
    authorization = %q
`

// tellEvery is how soon the runtime is told again that could not be told.
const tellEvery = 10 * time.Second

// tellLater tries until the runtime is told: a node whose disk is full goes on without.
func (m *Mirror) tellLater(ctx context.Context, where []byte, err error) {
	for err != nil {
		m.cfg.Log.Warn("the runtime cannot be told of the image mirror; trying again", "err", err, "in", tellEvery)
		select {
		case <-ctx.Done():
			return
		case <-time.After(tellEvery):
		}
		err = m.tell(where)
	}
}

// tell writes where the mirror is for the runtime to find.
func (m *Mirror) tell(where []byte) error {
	dir := filepath.Join(m.cfg.Dir, "_default")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp := filepath.Join(dir, "hosts.toml.new")
	if err := os.WriteFile(tmp, where, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "hosts.toml"))
}

// Run serves until ctx ends.
func (m *Mirror) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the image mirror: %w", err)
	}
	defer l.Close()
	url := "http://" + l.Addr().String()
	where := fmt.Appendf(nil, hosts, m.cfg.Dir, url, url, m.authorization())
	if err := m.tell(where); err != nil {
		go m.tellLater(ctx, where, err)
	}
	srv := &http.Server{
		Handler: m, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: slog.NewLogLogger(m.cfg.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) || ctx.Err() == nil {
		return fmt.Errorf("serving the image mirror: %w", err)
	}
	return ctx.Err()
}

// authorization is what only the runtime can read: other processes of the node
// reach the port too.
func (m *Mirror) authorization() string { return "Bearer " + m.secret }

// ServeHTTP answers GET and HEAD of manifests and blobs.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(m.authorization())) != 1:
		http.Error(w, "this registry is for the node's container runtime only", http.StatusUnauthorized)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "only pulls are served", http.StatusMethodNotAllowed)
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok || path == "" {
		w.WriteHeader(http.StatusOK) // "GET /v2/": yes, this is a registry
		return
	}
	host := r.URL.Query().Get("ns")
	var err error
	if i := strings.LastIndex(path, "/manifests/"); i > 0 {
		err = m.manifest(w, r, host+"/"+path[:i], path[i+len("/manifests/"):])
	} else if i := strings.LastIndex(path, "/blobs/"); i > 0 {
		err = m.blob(w, r, host+"/"+path[:i], path[i+len("/blobs/"):])
	} else {
		err = kind.New(kind.NotFound, "no page %s", r.URL.Path)
	}
	switch {
	case err == nil:
	case kind.Is(err, kind.NotFound), kind.Is(err, kind.Invalid):
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// manifest answers with a manifest or index, by tag or digest.
func (m *Mirror) manifest(w http.ResponseWriter, r *http.Request, name, ref string) error {
	dgst, peers := ref, []string(nil)
	if !strings.Contains(ref, ":") { // a tag
		desc, have, err := m.cfg.Source.Image(r.Context(), name+":"+ref)
		if err != nil {
			return err
		}
		dgst, peers = string(desc.Digest), have
	}
	body, size, err := m.cfg.Source.Content(r.Context(), dgst, 0)
	if err != nil {
		return err
	}
	defer body.Close()
	if size > manifestMax {
		return kind.New(kind.NotFound, "%s is no manifest", dgst)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	m.remember(name, peers)
	h := w.Header()
	h.Set("Content-Type", mediaType(b))
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Docker-Content-Digest", dgst)
	if r.Method == http.MethodGet {
		_, _ = w.Write(b) // whoever asked has gone
	}
	return nil
}

// mediaType says what a manifest is; those of OCI need not say it themselves.
func mediaType(b []byte) string {
	var m struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	_ = json.Unmarshal(b, &m) // what is no JSON is refused by who asked
	switch {
	case m.MediaType != "":
		return m.MediaType
	case m.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	}
	return ocispec.MediaTypeImageManifest
}

func (m *Mirror) remember(name string, peers []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for n, r := range m.repos {
		if now.After(r.until) {
			delete(m.repos, n)
		}
	}
	if len(peers) == 0 {
		peers = m.repos[name].peers
	}
	m.repos[name] = repo{peers, now.Add(repoFor)}
}

// sources returns which agents to ask for a repository's blobs; known: it is one
// of the cluster's.
func (m *Mirror) sources(name string) (peers []string, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	r, ok := m.repos[name]
	if !ok || now.After(r.until) {
		return nil, false
	}
	for _, p := range r.peers {
		if now.After(m.bad[p]) {
			peers = append(peers, p)
		}
	}
	return peers, true
}
