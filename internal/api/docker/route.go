package docker

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"trireme/internal/api/caller"
	"trireme/internal/api/docker/query"
	"trireme/internal/kind"
	"trireme/internal/store"
)

// The versions of the Docker Engine API that are spoken.
const (
	versionMax = "1.51"
	versionMin = "1.24"
)

// bodyMax bounds what a request may say, in bytes: a config, in base64, fits.
const bodyMax = 3 << 19

// call is one request.
type call struct {
	*http.Request
	door   *Server
	snap   *store.Snapshot // the committed state at its beginning, as the caller may see it
	all    *store.Snapshot // the whole of it: to check by, not to show
	as     *caller.Clients
	rights *caller.Rights
	out    http.ResponseWriter
	raw    io.Reader // the body, without a bound
}

// answer is what a handler returns where it is not a 200 with a JSON body.
type answer struct {
	code int
	body any // nil: none
}

// streamed is returned by handlers that have written their answer.
var streamed = answer{}

type handler func(*call) (any, error)

// parts are what the door serves.
var parts = []map[string]handler{systemRoutes, swarmRoutes, serviceRoutes, taskRoutes, nodeRoutes, networkRoutes, fileRoutes, volumeRoutes, engineRoutes, imageRoutes, usageRoutes, unservedRoutes}

// routes returns the door's handler. Patterns are those of the Docker Engine API
// without its version.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, part := range parts {
		for pattern, h := range part {
			mux.HandleFunc(pattern, s.serve(h))
		}
	}
	mux.HandleFunc("/", s.serve(func(c *call) (any, error) {
		return nil, kind.New(kind.Unsupported, "%s %s is not served by this door; see docs/docker.md for what is", c.Method, c.URL.Path)
	}))
	return versioned(mux)
}

var versionPath = regexp.MustCompile(`^/v(\d+)\.(\d+)(/.*)$`)

// versioned takes the version off paths and refuses those that are not spoken.
func versioned(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Api-Version", versionMax)
		w.Header().Set("Ostype", "linux")
		w.Header().Set("Docker-Experimental", "false")
		w.Header().Set("Server", "Trireme (linux)")
		m := versionPath.FindStringSubmatch(req.URL.Path)
		if m == nil {
			next.ServeHTTP(w, req)
			return
		}
		asked := m[1] + "." + m[2]
		switch {
		case minor(asked) < minor(versionMin) || m[1] != "1":
			fail(w, kind.New(kind.Malformed, "client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", asked, versionMin))
			return
		case minor(asked) > minor(versionMax):
			fail(w, kind.New(kind.Malformed, "client version %s is too new. Maximum supported API version is %s", asked, versionMax))
			return
		}
		inner := req.Clone(req.Context())
		inner.URL.Path, inner.URL.RawPath = m[3], ""
		next.ServeHTTP(w, inner)
	})
}

func minor(version string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(version, "1."))
	return n
}

// serve answers with what a handler returns.
func (s *Server) serve(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		c, err := s.newCall(w, req)
		if err != nil {
			fail(w, err)
			return
		}
		req.Body = http.MaxBytesReader(w, req.Body, bodyMax)
		body, err := h(c)
		if err != nil {
			fail(w, err)
			return
		}
		a, ok := body.(answer)
		switch {
		case ok && a == streamed:
			return
		case !ok:
			a = answer{http.StatusOK, body}
		}
		if a.body == nil {
			w.WriteHeader(a.code)
			return
		}
		write(w, a.code, a.body)
	}
}

func write(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}

// read decodes the request's body into v.
func (c *call) read(v any) error { return query.Body(c.Request, v) }

// flag returns a query's value as docker reads booleans.
func (c *call) flag(name string) bool { return query.Flag(c.Request, name) }

// index returns the version that an update was made from.
func (c *call) index() (string, error) {
	text := c.FormValue("version")
	if _, err := strconv.ParseUint(text, 10, 64); err != nil {
		return "", kind.New(kind.Malformed, "invalid version '%s': strconv.ParseUint: parsing %q: invalid syntax: give the Version.Index that the object was read with", text, text)
	}
	return text, nil
}

func parseIndex(resourceVersion string) uint64 {
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
