package stream

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/proxy"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

// Pods tells where things are.
type Pods interface {
	Pods() []*corev1.Pod
	Sandbox(object.Key) (id string, err error)
	// Container returns kind.Invalid, with the LogDir, for one not made yet.
	Container(pod object.Key, name string) (Container, error)
}

// Container is where a container is found.
type Container struct {
	ID         string
	Attempt    uint32
	Running    bool
	TTY, Stdin bool
	LogDir     string // of its logs, one file an attempt
}

// Images are the node's images.
type Images interface {
	Import(ctx context.Context, archive io.Reader) ([]string, error)
	List(ctx context.Context) ([]runtime.Image, error)
	Remove(ctx context.Context, ref string) error
	// Pull brings an image; Tag and Untag give and take names.
	Pull(ctx context.Context, ref string, creds []runtime.Credentials) (*runtime.Image, error)
	Tag(ctx context.Context, ref, as string) error
	Untag(ctx context.Context, ref string) error
	// Descriptor and Content give an image away: see runtime.Images.
	Descriptor(ctx context.Context, ref string) (ocispec.Descriptor, error)
	Content(ctx context.Context, digest string, offset int64) (body io.ReadCloser, size int64, err error)
}

// Config is what a Server needs; all is required.
type Config struct {
	Listen  string
	TLS     *tls.Config
	Runtime runtime.Streams
	Pods    Pods
	Images  Images
	Stats   func(context.Context) (*Summary, error)
	Scrape  func(context.Context, *Summary) // adds what pods show of themselves
	Metrics func(io.Writer)                 // more for /metrics; may be nil
	// Stop ends a container: its stop signal, and the kill after grace.
	Stop func(ctx context.Context, id string, grace time.Duration) error
	Log  *slog.Logger
}

// Server is the agent's HTTPS.
type Server struct {
	cfg      Config
	mux      *http.ServeMux
	logFiles logFiles
}

// New returns a server that does not listen yet.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	s.mux.HandleFunc("GET /pods", s.pods)
	s.mux.HandleFunc("GET /stats/summary", s.stats)
	s.mux.HandleFunc("GET /metrics", s.metrics)
	s.mux.HandleFunc("GET /metrics/resource", s.resource)
	s.mux.HandleFunc("GET /metrics/cadvisor", s.cadvisor)
	s.mux.HandleFunc("GET /containerLogs/{ns}/{pod}/{container}", s.logs)
	for _, uid := range []string{"", "/{uid}"} { // a kubelet's paths may name the pod's UID too
		s.mux.HandleFunc("/exec/{ns}/{pod}"+uid+"/{container}", s.exec)
		s.mux.HandleFunc("/attach/{ns}/{pod}"+uid+"/{container}", s.attach)
		s.mux.HandleFunc("/portForward/{ns}/{pod}"+uid, s.portForward)
	}
	s.mux.HandleFunc("POST /stop/{ns}/{pod}/{container}", s.stop)
	s.mux.HandleFunc("GET /images", s.listImages)
	s.mux.HandleFunc("POST /images/import", s.importImages)
	s.mux.HandleFunc("POST /images/pull", s.pullImage)
	s.mux.HandleFunc("POST /images/tag", s.tagImage)
	s.mux.HandleFunc("GET /images/descriptor", s.describeImage)
	s.mux.HandleFunc("GET "+contentPath+"{digest}", s.imageContent)
	s.mux.HandleFunc("DELETE /images/{ref...}", s.removeImage)
	return s
}

// The groups that may call: masters all, nodes what is below contentPath.
const (
	masters     = "system:masters"
	nodes       = "system:nodes"
	contentPath = "/images/content/"
)

// headerTimeout bounds how long a client may take to say what it wants.
const headerTimeout = 10 * time.Second

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listening for the agent's HTTPS: %w", err)
	}
	conf := s.cfg.TLS.Clone()
	conf.ClientAuth = tls.RequireAndVerifyClientCert
	conf.NextProtos = []string{"h2", "http/1.1"} // logs, of which many may be followed; streams, that upgrade
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(tls.NewListener(l, conf)); !errors.Is(err, http.ErrServerClosed) || ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// ServeHTTP answers those who may ask.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var groups []string
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		groups = r.TLS.VerifiedChains[0][0].Subject.Organization
	}
	if !slices.Contains(groups, masters) && (!slices.Contains(groups, nodes) || !strings.HasPrefix(r.URL.Path, contentPath)) {
		http.Error(w, "Forbidden: the agent answers managers only", http.StatusForbidden)
		return
	}
	s.mux.ServeHTTP(w, r)
}

var statuses = map[kind.Kind]int{
	kind.NotFound: http.StatusNotFound, kind.Invalid: http.StatusBadRequest, kind.Malformed: http.StatusBadRequest,
	kind.Conflict: http.StatusConflict, kind.Unavailable: http.StatusServiceUnavailable, kind.Timeout: http.StatusGatewayTimeout,
	kind.Denied: http.StatusForbidden, kind.Exhausted: http.StatusInsufficientStorage,
}

func fail(w http.ResponseWriter, err error) {
	code, ok := statuses[kind.Of(err)]
	if !ok {
		code = http.StatusInternalServerError
	}
	http.Error(w, err.Error(), code)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return // the client is gone
	}
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{}}
	for _, p := range s.cfg.Pods.Pods() {
		list.Items = append(list.Items, *p)
	}
	answer(w, &list)
}

func (s *Server) stats(w http.ResponseWriter, r *http.Request) {
	sum, err := s.cfg.Stats(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	if flag(r.URL.Query(), "scrape") {
		s.cfg.Scrape(r.Context(), sum)
	}
	answer(w, sum)
}

func podOf(r *http.Request) object.Key {
	return object.Key{Namespace: r.PathValue("ns"), Name: r.PathValue("pod")}
}

func flag(q url.Values, names ...string) bool {
	for _, n := range names {
		if v := q.Get(n); v == "1" || v == "true" {
			return true
		}
	}
	return false
}

func options(q url.Values) runtime.StreamOptions {
	return runtime.StreamOptions{
		Cmd: q["command"], TTY: flag(q, "tty"), Stdin: flag(q, "input", "stdin"),
		Stdout: flag(q, "output", "stdout"), Stderr: flag(q, "error", "stderr") && !flag(q, "tty"),
	}
}

func (s *Server) running(r *http.Request) (Container, error) {
	c, err := s.cfg.Pods.Container(podOf(r), r.PathValue("container"))
	if err == nil && !c.Running {
		err = kind.New(kind.Invalid, "container %s is not running", r.PathValue("container"))
	}
	return c, err
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	c, err := s.running(r)
	if err != nil {
		fail(w, err)
		return
	}
	opts := options(r.URL.Query())
	if len(opts.Cmd) == 0 {
		fail(w, kind.New(kind.Invalid, "you must specify at least 1 command"))
		return
	}
	to, err := s.cfg.Runtime.Exec(r.Context(), c.ID, opts)
	s.through(w, r, to, err)
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	c, err := s.running(r)
	if err != nil {
		fail(w, err)
		return
	}
	opts := options(r.URL.Query())
	opts.TTY, opts.Stderr = c.TTY, opts.Stderr && !c.TTY
	to, err := s.cfg.Runtime.Attach(r.Context(), c.ID, opts)
	s.through(w, r, to, err)
}

// stop ends a container as one that ended by itself: its pod's restart policy decides what
// follows.
func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.ParseUint(r.URL.Query().Get("seconds"), 10, 31)
	if err != nil {
		fail(w, kind.New(kind.Invalid, "seconds: %q is not a number from 0 on", r.URL.Query().Get("seconds")))
		return
	}
	c, err := s.running(r)
	if err == nil {
		err = s.cfg.Stop(r.Context(), c.ID, time.Duration(seconds)*time.Second)
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	id, err := s.cfg.Pods.Sandbox(podOf(r))
	if err != nil {
		fail(w, err)
		return
	}
	var ports []int32
	for _, p := range append(r.URL.Query()["ports"], r.URL.Query()["port"]...) {
		for _, one := range strings.Split(p, ",") {
			n, err := strconv.ParseUint(one, 10, 16)
			if err != nil || n == 0 {
				fail(w, kind.New(kind.Invalid, "port %q is not a port", one))
				return
			}
			ports = append(ports, int32(n))
		}
	}
	to, err := s.cfg.Runtime.PortForward(r.Context(), id, ports)
	s.through(w, r, to, err)
}

// through hands the connection to where the runtime streams.
func (s *Server) through(w http.ResponseWriter, r *http.Request, to *url.URL, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	h := proxy.NewUpgradeAwareHandler(to, nil, false, true, responder{s.cfg.Log})
	h.ServeHTTP(w, r)
}

type responder struct{ log *slog.Logger }

func (r responder) Error(w http.ResponseWriter, req *http.Request, err error) {
	r.log.Warn("streaming", "path", req.URL.Path, "err", err)
	http.Error(w, err.Error(), http.StatusBadGateway)
}

// imageInfo is an image as this HTTPS tells it.
type imageInfo struct {
	ID        string   `json:"id"`
	Names     []string `json:"names"`
	Digests   []string `json:"digests"`
	SizeBytes int64    `json:"sizeBytes"`
	Pinned    bool     `json:"pinned,omitempty"`
}

func (s *Server) listImages(w http.ResponseWriter, r *http.Request) {
	list, err := s.cfg.Images.List(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	out := make([]imageInfo, 0, len(list))
	for _, i := range list {
		out = append(out, imageInfo{i.ID, i.Names, i.Digests, i.SizeBytes, i.Pinned})
	}
	answer(w, out)
}

func (s *Server) importImages(w http.ResponseWriter, r *http.Request) {
	names, err := s.cfg.Images.Import(r.Context(), r.Body)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, map[string][]string{"names": names})
}

func (s *Server) describeImage(w http.ResponseWriter, r *http.Request) {
	d, err := s.cfg.Images.Descriptor(r.Context(), r.URL.Query().Get("ref"))
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, d)
}

// pullImage brings an image, with the credentials that the body holds.
func (s *Server) pullImage(w http.ResponseWriter, r *http.Request) {
	var creds []runtime.Credentials
	if err := json.NewDecoder(io.LimitReader(r.Body, credentialsMax)).Decode(&creds); err != nil && !errors.Is(err, io.EOF) {
		fail(w, kind.New(kind.Malformed, "reading credentials: %v", err))
		return
	}
	i, err := s.cfg.Images.Pull(r.Context(), r.URL.Query().Get("ref"), creds)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, imageInfo{i.ID, i.Names, i.Digests, i.SizeBytes, i.Pinned})
}

// credentialsMax bounds the credentials of a pull, in bytes.
const credentialsMax = 64 << 10

func (s *Server) tagImage(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if err := s.cfg.Images.Tag(r.Context(), q.Get("ref"), q.Get("as")); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// imageContent gives what the image store holds under a digest to the manager,
// or to a node that pulls.
func (s *Server) imageContent(w http.ResponseWriter, r *http.Request) {
	offset := int64(0)
	if v := r.URL.Query().Get("offset"); v != "" {
		var err error
		if offset, err = strconv.ParseInt(v, 10, 64); err != nil || offset < 0 {
			fail(w, kind.New(kind.Invalid, "offset: %q is not a number from 0 on", v))
			return
		}
	}
	body, size, err := s.cfg.Images.Content(r.Context(), r.PathValue("digest"), offset)
	if err != nil {
		fail(w, err)
		return
	}
	defer body.Close()
	if offset > size {
		fail(w, kind.New(kind.Invalid, "offset: %d is beyond the end, %d", offset, size))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size-offset, 10))
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(w, body); err != nil {
		s.cfg.Log.Debug("sending a part of an image", "digest", r.PathValue("digest"), "err", err)
	}
}

func (s *Server) removeImage(w http.ResponseWriter, r *http.Request) {
	remove := s.cfg.Images.Remove
	if flag(r.URL.Query(), "untag") {
		remove = s.cfg.Images.Untag
	}
	if err := remove(r.Context(), r.PathValue("ref")); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
