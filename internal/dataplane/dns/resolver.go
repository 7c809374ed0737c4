package dns

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
	"k8s.io/utils/lru"

	"trireme/internal/kind"
)

const (
	upstreamTimeout = 2 * time.Second // of one try at one resolver
	// avoidFor is how long a resolver that did not answer is asked last.
	avoidFor = 10 * time.Second
	// cachedMax is how many answers are remembered, ttlMax for how long at most: a record
	// that says a week is asked for again after an hour.
	cachedMax = 4096
	ttlMax    = time.Hour
)

// Resolver asks other resolvers and remembers what they say for as long as they say it
// holds, that a name does not exist included (RFC 2308). Equal questions that come at
// once are asked once.
type Resolver struct {
	cfg     ResolverConfig
	answers *lru.Cache // question → *remembered
	asking  singleflight.Group

	mu     sync.Mutex
	failed map[string]time.Time // by resolver: when it last did not answer
}

// ResolverConfig configures a Resolver.
type ResolverConfig struct {
	Upstream []string            // resolvers, "ADDR:PORT"
	Stubs    map[string][]string // resolvers of a domain and all below it, instead of Upstream
	Log      *slog.Logger        // required
}

// NewResolver returns a Resolver that remembers nothing.
func NewResolver(cfg ResolverConfig) *Resolver {
	stubs := map[string][]string{}
	for domain, resolvers := range cfg.Stubs {
		stubs[dns.CanonicalName(domain)] = resolvers
	}
	cfg.Stubs = stubs
	return &Resolver{cfg: cfg, answers: lru.New(cachedMax), failed: map[string]time.Time{}}
}

// Resolvers returns the resolvers of a resolv.conf as "ADDR:53", less the given
// address; none if the file cannot be read.
func Resolvers(path string, less ...string) []string {
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil
	}
	var all []string
	for _, s := range conf.Servers {
		if !slices.Contains(less, s) {
			all = append(all, net.JoinHostPort(s, conf.Port))
		}
	}
	return all
}

// ParseStub reads "DOMAIN=ADDRESS[:PORT][,ADDRESS[:PORT]...]".
func ParseStub(s string) (domain string, resolvers []string, err error) {
	domain, list, ok := strings.Cut(s, "=")
	if _, valid := dns.IsDomainName(domain); !ok || !valid || strings.Trim(domain, ".") == "" {
		return "", nil, kind.New(kind.Invalid, "%q is not DOMAIN=ADDRESS[:PORT][,ADDRESS[:PORT]...]", s)
	}
	for _, r := range strings.Split(list, ",") {
		resolver, err := ParseResolver(r)
		if err != nil {
			return "", nil, fmt.Errorf("%q: %w", s, err)
		}
		resolvers = append(resolvers, resolver)
	}
	return domain, resolvers, nil
}

// ParseResolver reads "ADDRESS[:PORT]" and returns "ADDRESS:PORT".
func ParseResolver(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53).String(), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return "", kind.New(kind.Invalid, "%q is not the address of a resolver: want an IP address, with :PORT if that is not 53", s)
	}
	return a.String(), nil
}

// remembered is an answer and when it was given.
type remembered struct {
	m     *dns.Msg
	at    time.Time
	until time.Time
}

// Resolve answers a question, with SERVFAIL where no resolver does.
func (r *Resolver) Resolve(ctx context.Context, q *dns.Msg) *dns.Msg {
	key := questionKey(q)
	if m := r.recall(key); m != nil {
		return replyTo(q, m)
	}
	got, _, _ := r.asking.Do(key, func() (any, error) {
		m := r.ask(ctx, q)
		if ttl := lifetime(m); ttl > 0 {
			now := time.Now()
			r.answers.Add(key, &remembered{m, now, now.Add(ttl)})
		}
		return m, nil
	})
	return replyTo(q, got.(*dns.Msg))
}

// questionKey tells questions apart: what is asked, and how.
func questionKey(q *dns.Msg) string {
	key := fmt.Sprintf("%s %d %d %t", dns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype, q.Question[0].Qclass, q.CheckingDisabled)
	if opt := q.IsEdns0(); opt != nil {
		key += " edns " + strconv.FormatBool(opt.Do())
	}
	return key
}

// recall returns a copy of a remembered answer with what is left of its time.
func (r *Resolver) recall(key string) *dns.Msg {
	found, ok := r.answers.Get(key)
	if !ok {
		return nil
	}
	a := found.(*remembered)
	now := time.Now()
	if !now.Before(a.until) {
		r.answers.Remove(key)
		return nil
	}
	m, age := a.m.Copy(), uint32(now.Sub(a.at)/time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT { // whose TTL is none
				h.Ttl -= min(age, h.Ttl)
			}
		}
	}
	return m
}

// replyTo returns a copy of the answer as one to this question, whose letters may be of
// another case.
func replyTo(q, m *dns.Msg) *dns.Msg {
	c := m.Copy()
	c.Id, c.Question = q.Id, slices.Clone(q.Question)
	return c
}

// lifetime returns how long an answer may be given again: the least of its records'
// times, for a name or type that does not exist what the SOA says (RFC 2308, section
// 5), never for a failure.
func lifetime(m *dns.Msg) time.Duration {
	least := uint32(ttlMax / time.Second)
	switch {
	case m.Truncated || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return 0
	case m.Rcode == dns.RcodeNameError || len(m.Answer) == 0:
		at := slices.IndexFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
		if at < 0 {
			return 0
		}
		least = min(least, m.Ns[at].(*dns.SOA).Minttl)
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			least = min(least, rr.Header().Ttl)
		}
	}
	return time.Duration(least) * time.Second
}

// ask asks each resolver in turn, over UDP and, if that was cut off, TCP.
func (r *Resolver) ask(ctx context.Context, question *dns.Msg) *dns.Msg {
	q := question.Copy()
	if opt := q.IsEdns0(); opt != nil {
		opt.Option = nil // cookies and the like are between the client and us
	}
	for _, addr := range r.inTurn(question.Question[0].Name) {
		for _, network := range []string{"udp", "tcp"} {
			client := dns.Client{Net: network, Timeout: upstreamTimeout, UDPSize: 4096}
			q.Id = dns.Id()
			m, _, err := client.ExchangeContext(ctx, q, addr)
			r.note(addr, err)
			if err != nil {
				r.cfg.Log.Debug("asking a resolver", "resolver", addr, "network", network, "err", err)
				break
			}
			if m.Truncated && network == "udp" {
				continue
			}
			if m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeRefused {
				break // the next one may know better
			}
			return m
		}
	}
	return new(dns.Msg).SetRcode(question, dns.RcodeServerFailure)
}

// inTurn returns the resolvers for a name: those of the longest domain it is in, those
// that lately did not answer last.
func (r *Resolver) inTurn(name string) []string {
	resolvers, longest := r.cfg.Upstream, 0
	for domain, theirs := range r.cfg.Stubs {
		if dns.IsSubDomain(domain, dns.CanonicalName(name)) && len(domain) > longest {
			resolvers, longest = theirs, len(domain)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failed) == 0 {
		return resolvers
	}
	now := time.Now()
	lately := func(addr string) int {
		if at, ok := r.failed[addr]; ok && now.Sub(at) < avoidFor {
			return 1
		}
		return 0
	}
	return slices.SortedStableFunc(slices.Values(resolvers), func(a, b string) int { return cmp.Compare(lately(a), lately(b)) })
}

// note remembers whether a resolver answered.
func (r *Resolver) note(addr string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed[addr] = time.Now()
	} else {
		delete(r.failed, addr)
	}
}
