package operator

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"trireme/internal/access"
	"trireme/internal/api/basic"
	"trireme/internal/api/caller"
	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/store"
)

const (
	// Version is the release of Mesos that is spoken.
	Version = "1.12.0"

	// bodyMax bounds a call, in bytes: a schedule of every machine fits.
	bodyMax = 8 << 20
)

// Config says what the tables do not. All but Metrics and Elected are required.
type Config struct {
	Store *store.Store
	Now   func() time.Time
	// Leader returns the manager that leads, nil where nobody knows.
	Leader func() *mesosv1.MasterInfo
	// Leads reports whether it is this one; nil: it is.
	Leads   func() bool
	Auth    basic.Auth
	Started time.Time        // this process
	Elected func() time.Time // since when the leader leads; nil: since Started
	Release string           // Trireme's own
	Flags   map[string]string
	// Metrics returns those that the tables do not tell, by Mesos' names.
	Metrics func() map[string]float64
}

// Server answers the operator API over one store.
type Server struct {
	cfg     Config
	rules   *access.Checker
	clients *caller.Cache

	mu          sync.Mutex
	subscribers []*subscriber // oldest first
}

// New returns the API over cfg.Store.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Now == nil || cfg.Leader == nil || cfg.Auth.Identify == nil || cfg.Started.IsZero() {
		return nil, kind.New(kind.Invalid, "mesos operator API: Config is incomplete")
	}
	if cfg.Elected == nil {
		cfg.Elected = func() time.Time { return cfg.Started }
	}
	return &Server{cfg: cfg, rules: access.NewChecker(cfg.Store), clients: caller.NewCache()}, nil
}

// Request is one request, and who asks; nobody where the route is Open.
type Request struct {
	*http.Request
	Out  http.ResponseWriter
	Who  basic.Caller
	door *Server
}

// handler answers a request, or returns why not: a *codec.Refusal, or an error of a kind.
type handler func(*Request) error

// route is what answers a pattern.
type route struct {
	handle handler
	// anywhere: every manager answers, not only the one that leads.
	anywhere bool
	// open: nobody is asked who he is.
	open bool
}

// Handler answers everything that is not the scheduler's. The older endpoints stand
// there twice, also below /master.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1", s.serve(route{handle: s.api}))
	mux.HandleFunc("/master/api/v1", s.serve(route{handle: s.api}))
	for _, part := range []map[string]route{s.selfRoutes(), s.readRoutes(), s.writeRoutes()} {
		for pattern, r := range part {
			method, path, _ := strings.Cut(pattern, " ")
			mux.HandleFunc(pattern, s.serve(r))
			mux.HandleFunc(method+" /master"+path, s.serve(r))
		}
	}
	return mux
}

func (s *Server) serve(r route) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if err := s.answer(r, &Request{Request: req, Out: w, door: s}); err != nil {
			refusal := codec.RefusalOf(err)
			if refusal.Status == http.StatusUnauthorized {
				s.cfg.Auth.Challenge(w)
			}
			refusal.Write(w)
		}
	}
}

func (s *Server) answer(r route, req *Request) (err error) {
	if !r.anywhere && s.cfg.Leads != nil && !s.cfg.Leads() {
		return s.toLeader(req, req.URL.RequestURI())
	}
	if !r.open {
		if req.Who, err = s.cfg.Auth.Who(req.Request); err != nil {
			return err
		}
	}
	return r.handle(req)
}

// toLeader sends a client to the manager that leads.
func (s *Server) toLeader(r *Request, uri string) error {
	leader := s.cfg.Leader()
	if leader == nil {
		return kind.New(kind.Unavailable, "No leader elected")
	}
	r.Out.Header().Set("Location", "//"+hostPort(leader)+uri)
	r.Out.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

// reading answers a call with what one look at the tables shows.
type reading func(*view, *master.Call, *master.Response) error

// writing does what a call says.
type writing func(*Server, *Request, *master.Call) error

var readings = map[master.Call_Type]reading{
	master.Call_GET_HEALTH: getHealth, master.Call_GET_FLAGS: getFlags, master.Call_GET_VERSION: getVersion, master.Call_GET_METRICS: getMetrics,
	master.Call_GET_LOGGING_LEVEL: getLoggingLevel, master.Call_LIST_FILES: noFiles, master.Call_READ_FILE: noFiles,
	master.Call_GET_STATE: getState, master.Call_GET_AGENTS: getAgents, master.Call_GET_FRAMEWORKS: getFrameworks,
	master.Call_GET_EXECUTORS: getExecutors, master.Call_GET_OPERATIONS: getOperations, master.Call_GET_TASKS: getTasks,
	master.Call_GET_ROLES: getRoles, master.Call_GET_WEIGHTS: getWeights, master.Call_GET_MASTER: getMaster,
	master.Call_GET_MAINTENANCE_STATUS: getMaintenanceStatus, master.Call_GET_MAINTENANCE_SCHEDULE: getMaintenanceSchedule,
	master.Call_GET_QUOTA: getQuota,
}

// accepted are the writings that are answered 202: their effect on offers follows.
var accepted = map[master.Call_Type]writing{
	master.Call_RESERVE_RESOURCES: reserveCall, master.Call_UNRESERVE_RESOURCES: unreserveCall, master.Call_CREATE_VOLUMES: createCall,
	master.Call_DESTROY_VOLUMES: destroyCall, master.Call_GROW_VOLUME: growCall, master.Call_SHRINK_VOLUME: shrinkCall,
}

// done are the writings that are answered 200.
var done = map[master.Call_Type]writing{
	master.Call_SET_LOGGING_LEVEL: setLoggingLevel, master.Call_UPDATE_WEIGHTS: updateWeightsCall,
	master.Call_UPDATE_QUOTA: updateQuotaCall, master.Call_SET_QUOTA: setQuotaCall, master.Call_REMOVE_QUOTA: removeQuotaCall,
	master.Call_UPDATE_MAINTENANCE_SCHEDULE: updateScheduleCall, master.Call_START_MAINTENANCE: startMaintenanceCall, master.Call_STOP_MAINTENANCE: stopMaintenanceCall,
	master.Call_DRAIN_AGENT: drainCall, master.Call_DEACTIVATE_AGENT: deactivateCall, master.Call_REACTIVATE_AGENT: reactivateCall,
	master.Call_MARK_AGENT_GONE: goneCall, master.Call_TEARDOWN: teardownCall,
}

// api answers POST /api/v1.
func (s *Server) api(r *Request) error {
	call := &master.Call{}
	if err := codec.Decode(r.Request, call, bodyMax); err != nil {
		return err
	}
	if call.Type == nil {
		return codec.NotValid(call, "Expecting 'type' to be present")
	}
	if err := hasPart(call); err != nil {
		return err
	}
	if _, err := codec.Accept(r.Header, "Accept"); err != nil {
		return err
	}
	if read, ok := readings[call.GetType()]; ok {
		answer := &master.Response{}
		if err := read(s.look(r), call, answer); err != nil {
			return err
		}
		return codec.Write(r.Out, r.Request, answer)
	}
	if write, ok := accepted[call.GetType()]; ok {
		if err := write(s, r, call); err != nil {
			return err
		}
		r.Out.WriteHeader(http.StatusAccepted)
		return nil
	}
	if write, ok := done[call.GetType()]; ok {
		if err := write(s, r, call); err != nil {
			return err
		}
		r.Out.WriteHeader(http.StatusOK)
		return nil
	}
	if call.GetType() == master.Call_SUBSCRIBE {
		return s.subscribe(r)
	}
	return codec.Refuse(http.StatusNotImplemented, "%s is no call of this API", call.GetType())
}

// hasPart refuses a call without the message that its type asks for.
func hasPart(call *master.Call) error {
	name := strings.ToLower(call.GetType().String())
	m := call.ProtoReflect()
	field := m.Descriptor().Fields().ByName(protoName(name))
	if field != nil && !m.Has(field) && call.GetType() != master.Call_GET_METRICS {
		return codec.NotValid(call, "Expecting '"+name+"' to be present")
	}
	return nil
}

// write answers with the message, in the form that the request accepts.
func (r *Request) write(contentType string, body []byte) error {
	codec.WriteBody(r.Out, r.Request, contentType, body)
	return nil
}
