package route

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"trireme/internal/object"
)

// Table is the routing of one node: immutable, for any number of readers.
type Table struct {
	ports map[int32]*port
}

// port is what one port does.
type port struct {
	tls   bool
	hosts map[string][]*compiled // by the rule's host, the first that matches has the request
	certs map[string]object.Key
	pass  map[string][]*compiled // passthrough rules
}

// compiled is a rule with what comparing needs.
type compiled struct {
	Rule
	except         []string // of its Place
	terminate      bool
	path           *regexp.Regexp
	headers, query []compiledMatch
	since          int64
	of             string // the part
	index          int
}

type compiledMatch struct {
	Match
	regex *regexp.Regexp
}

// Compile returns the table of all parts. Rules with a regular expression that is none
// are left out: whoever made the part said so.
func Compile(parts []*Part) *Table {
	t := &Table{ports: map[int32]*port{}}
	sorted := slices.SortedFunc(slices.Values(parts), func(a, b *Part) int { return older(a, b) })
	for _, p := range sorted {
		for _, o := range p.Ports {
			t.open(o)
		}
		for _, c := range p.Certificates {
			if o := t.ports[c.Port]; o != nil {
				if _, taken := o.certs[c.Host]; !taken {
					o.certs[c.Host] = c.Secret
				}
			}
		}
	}
	for _, p := range sorted {
		for i := range p.Rules {
			if r := p.Rules[i]; r.Port != 0 {
				t.add(p, i, Place{Port: r.Port, Host: r.Host})
				continue
			}
			for _, at := range p.Places {
				t.add(p, i, at)
			}
		}
	}
	for _, o := range t.ports {
		for _, rules := range o.hosts {
			slices.SortStableFunc(rules, before)
		}
	}
	return t
}

// older orders parts by precedence.
func older(a, b *Part) int {
	return cmp.Or(a.Since.Compare(b.Since.Time), strings.Compare(object.KeyOf(a).String(), object.KeyOf(b).String()))
}

// open opens a port. One port cannot be both: the older part says which it is.
func (t *Table) open(p Port) {
	if t.ports[p.Port] == nil {
		t.ports[p.Port] = &port{tls: p.TLS, hosts: map[string][]*compiled{}, certs: map[string]object.Key{}, pass: map[string][]*compiled{}}
	}
}

// add adds a rule of a part in one place.
func (t *Table) add(p *Part, i int, at Place) {
	c := &compiled{Rule: p.Rules[i], since: p.Since.Unix(), of: object.KeyOf(p).String(), index: i, except: at.Except, terminate: at.Terminate}
	c.Port, c.Host = at.Port, at.Host
	o := t.ports[c.Port]
	if o == nil {
		return
	}
	var err error
	if c.Path.Type == Regex {
		if c.path, err = Regexp(c.Path.Value); err != nil {
			return
		}
	}
	if c.headers, err = compileMatches(c.Headers); err != nil {
		return
	}
	if c.query, err = compileMatches(c.Query); err != nil {
		return
	}
	host := strings.ToLower(c.Host)
	if c.Passthrough {
		o.pass[host] = append(o.pass[host], c)
		return
	}
	o.hosts[host] = append(o.hosts[host], c)
}

func compileMatches(in []Match) ([]compiledMatch, error) {
	var out []compiledMatch
	for _, m := range in {
		c := compiledMatch{Match: m}
		if m.Type == Regex {
			var err error
			if c.regex, err = Regexp(m.Value); err != nil {
				return nil, err
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// Regexp returns the expression that a whole value has to match.
func Regexp(s string) (*regexp.Regexp, error) { return regexp.Compile("^(?:" + s + ")$") }

// before orders the rules of one host: the first that matches has the request.
func before(a, b *compiled) int {
	return cmp.Or(
		cmp.Compare(b.Path.rank(), a.Path.rank()),
		cmp.Compare(len(b.Path.Value), len(a.Path.Value)),
		cmp.Compare(min(len(b.Method), 1), min(len(a.Method), 1)),
		cmp.Compare(len(b.Headers), len(a.Headers)),
		cmp.Compare(len(b.Query), len(a.Query)),
		cmp.Compare(a.since, b.since),
		strings.Compare(a.of, b.of),
		cmp.Compare(a.index, b.index),
	)
}

func (p Path) rank() int {
	switch p.Type {
	case Exact:
		return 2
	case Regex:
		return 1
	}
	return 0
}

// Ports returns the ports that are to be open, and which of them speak TLS.
func (t *Table) Ports() map[int32]bool {
	out := map[int32]bool{}
	for n, p := range t.ports {
		out[n] = p.tls
	}
	return out
}

// Services calls f for each service that a rule leads to, each time it does.
func (t *Table) Services(f func(object.Key)) {
	for _, p := range t.ports {
		for _, hosts := range []map[string][]*compiled{p.hosts, p.pass} {
			for _, rules := range hosts {
				for _, r := range rules {
					r.services(f)
				}
			}
		}
	}
}

func (r *Rule) services(f func(object.Key)) {
	mirrors := func(of *Filters) {
		for _, m := range of.Mirrors {
			f(m.Backend.Service)
		}
	}
	mirrors(&r.Filters)
	for i := range r.Backends {
		f(r.Backends[i].Service)
		mirrors(&r.Backends[i].Filters)
	}
}

// Certificate returns the secret of what to show to who asks for a host on a port.
func (t *Table) Certificate(port int32, host string) (object.Key, bool) {
	p := t.ports[port]
	if p == nil {
		return object.Key{}, false
	}
	for at, depth := range names(host) {
		if key, ok := p.certs[at]; ok && (at == "" || depth < 2) { // a wildcard certificate is for one label (RFC 6125 §6.4.3)
			return key, true
		}
	}
	return object.Key{}, false
}

// Secrets calls f with the secret of each certificate.
func (t *Table) Secrets(f func(object.Key)) {
	for _, p := range t.ports {
		for _, key := range p.certs {
			f(key)
		}
	}
}
