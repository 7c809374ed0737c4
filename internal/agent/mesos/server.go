package mesos

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/mesos/workdir"
	"trireme/internal/agent/stream"
	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/runtime"
)

// Version is the release of Mesos whose API this is.
const Version = "1.12.0"

// Right is what somebody wants to do to the pods of a namespace.
type Right struct {
	Verb, Subresource string // of pods
	Namespace         string
}

// Config is what a Server needs; all is required.
type Config struct {
	Node    string
	Release string
	Flags   map[string]string
	Agent   func() *mesosv1.AgentInfo // what is known of this agent
	Pods    stream.Pods
	Runtime runtime.Streams
	Stop    func(ctx context.Context, id string, grace time.Duration) error // ends a container
	Usage   func(*corev1.Pod) (cpuNano, memoryBytes uint64)                 // that the pod has used, and uses
	// Allowed says whether whoever shows the Authorization header may; kind.Unauthenticated
	// where nobody knows them.
	Allowed   func(ctx context.Context, authorization string, r Right) (bool, error)
	Sandboxes *workdir.Keeper
	Executors http.Handler // serves the executor API
	Tasks     func(executor types.UID) map[string]mesosv1.TaskState
	Log       *slog.Logger
}

// Server is one node's.
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	started time.Time

	mu     sync.Mutex
	nested map[string]*process // commands in containers, by parent and id
	rights map[rightKey]answer
}

// New returns a server that does not serve yet.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, mux: http.NewServeMux(), started: time.Now(), nested: map[string]*process{}, rights: map[rightKey]answer{}}
	s.mux.Handle("/api/v1/executor", cfg.Executors)
	s.mux.HandleFunc("/api/v1", s.call)
	for _, prefix := range []string{"", "/slave(1)"} {
		for path, h := range map[string]func(*request) error{
			"/state": showState, "/state.json": showState, "/flags": showFlags, "/metrics/snapshot": showMetrics, "/monitor/statistics": showStatistics,
			"/monitor/statistics.json": showStatistics, "/containers": showContainers,
			"/files/browse": browse, "/files/browse.json": browse, "/files/read": read, "/files/read.json": read, "/files/download": download, "/files/debug": debug,
		} {
			s.mux.HandleFunc("GET "+prefix+path, s.handle(h))
		}
		s.mux.HandleFunc("GET "+prefix+"/health", func(http.ResponseWriter, *http.Request) {})
		s.mux.HandleFunc("GET "+prefix+"/version", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.version()) })
	}
	return s
}

// headerTimeout bounds how long a client may take to say what it wants.
const headerTimeout = 10 * time.Second

// Run serves until ctx ends, which ends the commands that were started.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	defer s.endAll()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) || ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// request is one request that is being answered.
type request struct {
	*http.Request
	s *Server
	w http.ResponseWriter
}

func (s *Server) handle(h func(*request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(&request{r, s, w}); err != nil {
			s.fail(w, err)
		}
	}
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, err error) {
	if kind.Is(err, kind.Unauthenticated) {
		w.Header().Set("WWW-Authenticate", `Basic realm="mesos-agent"`)
	}
	codec.RefusalOf(err).Write(w)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return // the client is gone
	}
}

// rightsLast is how long a manager's word on somebody's rights is taken again.
const (
	rightsLast = 5 * time.Second
	rightsMax  = 1000
)

type rightKey struct {
	authorization string
	right         Right
}

type answer struct {
	may   bool
	until time.Time
}

// may reports whether whoever asks may do so.
func (r *request) may(right Right) (bool, error) {
	key := rightKey{r.Header.Get("Authorization"), right}
	now := time.Now()
	r.s.mu.Lock()
	have, ok := r.s.rights[key]
	r.s.mu.Unlock()
	if ok && now.Before(have.until) {
		return have.may, nil
	}
	may, err := r.s.cfg.Allowed(r.Context(), key.authorization, right)
	if err != nil {
		return false, err
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if len(r.s.rights) >= rightsMax {
		clear(r.s.rights)
	}
	r.s.rights[key] = answer{may, now.Add(rightsLast)}
	return may, nil
}

// must says no to who may not.
func (r *request) must(right Right) error {
	may, err := r.may(right)
	if err == nil && !may {
		what := "pods"
		if right.Subresource != "" {
			what += "/" + right.Subresource
		}
		err = kind.New(kind.Denied, "you may not %s %s in namespace %q", right.Verb, what, right.Namespace)
	}
	return err
}

func (s *Server) version() map[string]any {
	return map[string]any{"version": Version, "git_sha": "", "git_tag": s.cfg.Release, "build_user": "trireme", "build_date": "", "build_time": 0.0}
}
