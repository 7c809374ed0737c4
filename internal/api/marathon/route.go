package marathon

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/api/caller"
	"trireme/internal/kind"
	"trireme/internal/object/marathon"
	"trireme/internal/store"
)

// bodyMax bounds what a request may say, in bytes.
const bodyMax = 8 << 20

// call is one request.
type call struct {
	*http.Request
	door   *Server
	snap   *store.Snapshot // the committed state at its beginning, as the caller may see it
	as     *caller.Clients
	rights *caller.Rights
	out    http.ResponseWriter
	path   []string // what of the path follows its route
	forced bool     // what locks apps gives way
}

// answer is what a handler returns where it is not a 200 with a JSON body.
type answer struct {
	code       int
	body       any // nil: none
	deployment string
	location   string
	text       bool // the body is a string, and plain text
}

// streamed is returned by handlers that have written their answer.
var streamed = answer{}

type handler func(*call) (any, error)

// route is a part of the API: handlers by method of what begins with a path.
type route map[string]handler

// routes are what the door serves, by what paths begin with after /v2; below them a handler
// looks at the rest.
var routes = []struct {
	prefix string
	route
}{
	{"/v2/apps", appRoutes}, {"/v2/groups", groupRoutes}, {"/v2/deployments", deploymentRoutes}, {"/v2/tasks", taskRoutes}, {"/v2/queue", queueRoutes},
	{"/v2/info", route{"GET": showInfo}}, {"/v2/leader", leaderRoutes}, {"/v2/events", route{"GET": followEvents}}, {"/v2/plugins", route{"GET": listPlugins}},
	{"/v2/pods", podRoutes}, {"/v2/pods::status", route{"GET": listPodStatus}}, {"/metrics", route{"GET": showMetrics}},
	{"/logging", route{"GET": showLogging}}, {"/help", route{"GET": help}}, {"/ui", route{"GET": help}},
}

// find returns the route of a path and what follows of it: the longest that it begins with.
func find(path []string) (found route, rest []string) {
	best := -1
	for _, r := range routes {
		parts := split(r.prefix)
		if len(parts) > best && len(path) >= len(parts) && slices.Equal(parts, path[:len(parts)]) {
			best, found, rest = len(parts), r.route, path[len(parts):]
		}
	}
	return found, rest
}

// prefixes are what DC/OS has before the paths of its Marathon: clients made for it keep to that.
var prefixes = [][]string{{"service", "marathon"}, {"marathon"}}

func withoutPrefix(path []string) []string {
	for _, prefix := range prefixes {
		if len(path) > len(prefix) && slices.Equal(path[:len(prefix)], prefix) {
			return path[len(prefix):]
		}
	}
	return path
}

// split takes a path apart: clients write doubled slashes, and one at the end.
func split(path string) (parts []string) {
	for part := range strings.SplitSeq(path, "/") {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("X-Marathon-Leader", "http://"+s.cfg.Address)
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	path := withoutPrefix(split(req.URL.Path))
	if len(path) == 1 && path[0] == "ping" { // load balancers ask without a name
		reply(w, answer{code: http.StatusOK, body: "pong\n", text: true})
		return
	}
	c, err := s.newCall(w, req)
	if err != nil {
		if kind.Is(err, kind.Unauthenticated) {
			s.cfg.Auth.Challenge(w)
		}
		fail(w, err)
		return
	}
	route, rest := find(path)
	if route == nil {
		fail(w, missing("%s is not served: see docs/marathon.md for what is", req.URL.Path))
		return
	}
	h := route[req.Method]
	if h == nil && req.Method == http.MethodHead {
		h = route[http.MethodGet]
	}
	if h == nil {
		var allowed []string
		for method := range route {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		fail(w, failure{http.StatusMethodNotAllowed, message{Message: "HTTP 405 Method Not Allowed"}})
		return
	}
	c.path = rest
	req.Body = http.MaxBytesReader(w, req.Body, bodyMax)
	body, err := h(c)
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, body)
}

func reply(w http.ResponseWriter, body any) {
	a, ok := body.(answer)
	switch {
	case ok && a == streamed:
		return
	case !ok:
		a = answer{code: http.StatusOK, body: body}
	}
	if a.deployment != "" {
		w.Header().Set("Marathon-Deployment-Id", a.deployment)
	}
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	switch {
	case a.body == nil:
		w.WriteHeader(a.code)
	case a.text:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(a.code)
		text, _ := a.body.(string)
		_, _ = io.WriteString(w, text) // the client has gone
	default:
		write(w, a.code, a.body)
	}
}

func write(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}

// newCall begins a call.
func (s *Server) newCall(w http.ResponseWriter, req *http.Request) (*call, error) {
	who, err := s.cfg.Auth.Who(req)
	if err != nil {
		return nil, err
	}
	as, err := s.callers.Clients(who.Key, who.Client)
	if err != nil {
		return nil, err
	}
	c := &call{Request: req, door: s, out: w, as: as, rights: caller.New(who.User, s.rules)}
	c.look()
	return c, nil
}

// look takes the committed state as it is now, as the caller may see it.
func (c *call) look() { c.snap = c.rights.Look(c.door.store.Snapshot()) }

// typed and custom call the Kubernetes door as whoever asks.
func (c *call) typed() kubernetes.Interface { return c.as.Typed }
func (c *call) custom() dynamic.Interface   { return c.as.Custom }

// query returns the request's query.
func (c *call) query() url.Values { return c.URL.Query() }

// flag returns a query's boolean; otherwise where it is not there.
func (c *call) flag(name string, otherwise bool) bool {
	if !c.query().Has(name) {
		return otherwise
	}
	return strings.EqualFold(c.query().Get(name), "true")
}

// read returns the body. Some clients send two quotes where they have nothing to say.
func (c *call) read() ([]byte, error) {
	b, err := io.ReadAll(c.Body)
	if err != nil {
		return nil, kind.New(kind.TooLarge, "the body cannot be read: %v", err)
	}
	if string(b) == `""` {
		return nil, nil
	}
	return b, nil
}

// fields returns the body as the fields of an object.
func (c *call) fields() (map[string]any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	tree, err := marathon.Fields(b)
	if err != nil {
		return nil, failure{http.StatusBadRequest, message{Message: err.Error()}}
	}
	return tree, nil
}

// wantsText reports whether the client asks for lines of text.
func (c *call) wantsText() bool {
	accept := c.Header.Get("Accept")
	return strings.Contains(accept, "text/plain") && !strings.Contains(accept, "application/json")
}
