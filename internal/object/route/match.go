package route

import (
	"iter"
	"net/url"
	"slices"
	"strings"
)

// Request is what rules look at.
type Request struct {
	Port   int32
	Host   string // without a port, lower case
	Method string
	Path   string                     // decoded
	Header func(name string) []string // all values of a header
	Query  url.Values
}

// Match returns the rule that has the request, nil where none has.
func (t *Table) Match(r *Request) *Rule {
	p := t.ports[r.Port]
	if p == nil {
		return nil
	}
	for at, depth := range names(r.Host) {
		for _, c := range p.hosts[at] {
			if (!c.OneLabel || depth < 2) && !c.excepts(r.Host) && c.matches(r) {
				return &c.Rule
			}
		}
	}
	return nil
}

// Passthrough returns the rule that has connections to a port for a name, nil where
// none has; and whether TLS ends before its backends.
func (t *Table) Passthrough(port int32, name string) (rule *Rule, terminate bool) {
	p := t.ports[port]
	if p == nil {
		return nil, false
	}
	for at := range names(name) {
		for _, c := range p.pass[at] {
			if !c.excepts(name) {
				return &c.Rule, c.terminate
			}
		}
	}
	return nil, false
}

// excepts reports whether a host's requests belong elsewhere.
func (c *compiled) excepts(host string) bool {
	return slices.ContainsFunc(c.except, func(e string) bool {
		rest, wild := strings.CutPrefix(e, "*")
		return e == host || wild && strings.HasSuffix(host, rest)
	})
}

// Passes reports whether a port has rules about connections.
func (t *Table) Passes(port int32) bool { return t.ports[port] != nil && len(t.ports[port].pass) > 0 }

// names yields under which names rules for a host stand, the most specific first, with
// how many labels a star would replace: "a.b.c" 0, "*.b.c" 1, "*.c" 2, "".
func names(host string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		if host != "" && !yield(host, 0) {
			return
		}
		rest := host
		for depth := 1; ; depth++ {
			_, after, ok := strings.Cut(rest, ".")
			if !ok {
				break
			}
			if rest = after; !yield("*."+rest, depth) {
				return
			}
		}
		yield("", 0)
	}
}

func (c *compiled) matches(r *Request) bool {
	return c.Path.matches(r.Path, c) &&
		(c.Method == "" || c.Method == r.Method) &&
		!slices.ContainsFunc(c.headers, func(m compiledMatch) bool {
			values := r.Header(m.Name)
			if strings.EqualFold(m.Name, "host") {
				values = []string{r.Host}
			}
			return !m.matches(strings.Join(values, ","), len(values) > 0)
		}) &&
		!slices.ContainsFunc(c.query, func(m compiledMatch) bool { return !m.matches(r.Query.Get(m.Name), r.Query.Has(m.Name)) })
}

func (p Path) matches(path string, c *compiled) bool {
	switch p.Type {
	case Exact:
		return path == p.Value
	case Regex:
		return c.path.MatchString(path)
	}
	return HasPrefix(path, p.Value)
}

// HasPrefix reports whether a path begins with the elements of a prefix: "/a/b" and
// "/a" do with "/a" and "/a/", "/ab" does not.
func HasPrefix(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

func (m *compiledMatch) matches(value string, has bool) bool {
	if !has {
		return false
	}
	if m.Type == Regex {
		return m.regex.MatchString(value)
	}
	return value == m.Value
}

// Apply returns the path that a rule's path change makes of one.
func (c *PathChange) Apply(path string, of Path) string {
	if c.Whole {
		return c.Value
	}
	rest := strings.TrimPrefix(path, strings.TrimSuffix(of.Value, "/"))
	out := strings.TrimSuffix(c.Value, "/") + "/" + strings.TrimPrefix(rest, "/")
	if rest == "" && c.Value != "" { // "/a" by "/b" is "/b", not "/b/"
		return c.Value
	}
	return out
}
