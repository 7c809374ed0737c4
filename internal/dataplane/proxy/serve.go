package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"time"

	"trireme/internal/object/route"
)

// exchange is one request on its way, in its context.
type exchange struct {
	rule    *route.Rule
	backend *route.Backend
	port    *servicePort
	counts  *counts  // of the service
	tries   []string // endpoints in the order to try them
	at      string   // the one that was tried last
	secure  bool
}

type exchangeKey struct{}

// normal returns a host as rules have it.
func normal(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// serve answers and counts one request.
func (p *Proxy) serve(port int32, w http.ResponseWriter, r *http.Request) {
	a, began := &answering{ResponseWriter: w, counts: &p.figures.own}, time.Now()
	defer func() {
		took := time.Since(began)
		if p.figures.count(a, took); p.access != nil {
			p.access.note(a, r, began, took)
		}
	}()
	p.answer(port, a, r)
}

func (p *Proxy) answer(port int32, w *answering, r *http.Request) {
	if dotted(r.URL.Path) {
		http.Error(w, `the path has "." or ".." elements`, http.StatusBadRequest)
		return
	}
	snap := p.now.Load()
	asked := route.Request{Port: port, Host: normal(r.Host), Method: r.Method, Path: r.URL.Path, Header: r.Header.Values, Query: r.URL.Query()}
	rule := snap.table.Match(&asked)
	switch {
	case rule == nil:
		http.Error(w, "no route has this host and path", http.StatusNotFound)
	case rule.Respond != nil:
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(rule.Respond.Status)
		io.WriteString(w, rule.Respond.Body)
	case rule.Redirect != nil:
		w.Header().Set("Location", location(rule, r, port))
		edit(w.Header(), rule.Filters.Response)
		w.WriteHeader(rule.Redirect.Status)
	default:
		p.forward(snap, rule, w, r)
	}
}

func dotted(path string) bool {
	if !strings.Contains(path, "/.") {
		return false
	}
	return slices.ContainsFunc(strings.Split(path, "/"), func(e string) bool { return e == "." || e == ".." })
}

// forward passes the request to a backend.
func (p *Proxy) forward(snap *snapshot, rule *route.Rule, w *answering, r *http.Request) {
	b := choose(rule.Backends)
	if b == nil || b.Invalid {
		http.Error(w, "the route leads to no backend", http.StatusInternalServerError)
		return
	}
	svc := snap.services[b.Service]
	if svc != nil {
		w.counts = svc.counts
	}
	x := &exchange{rule: rule, backend: b, port: svc.port(b), counts: w.counts, secure: r.TLS != nil}
	w.exchange = x
	if x.port == nil {
		http.Error(w, fmt.Sprintf("service %s has no such port", b.Service), http.StatusServiceUnavailable)
		return
	}
	if x.tries = turns(svc, x.port); len(x.tries) == 0 {
		http.Error(w, fmt.Sprintf("service %s has no ready endpoint", b.Service), http.StatusServiceUnavailable)
		return
	}
	ctx := context.WithValue(r.Context(), exchangeKey{}, x)
	if rule.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rule.Timeout)
		defer cancel()
	}
	p.mirror(snap, x, r)
	p.reverse.ServeHTTP(w, r.WithContext(ctx))
}

// choose returns a backend, each as often as its weight says; nil: none has any.
func choose(all []route.Backend) *route.Backend {
	total := int64(0)
	for i := range all {
		total += int64(max(all[i].Weight, 0))
	}
	if total == 0 {
		return nil
	}
	n := rand.Int64N(total)
	for i := range all {
		if n -= int64(max(all[i].Weight, 0)); n < 0 {
			return &all[i]
		}
	}
	return nil
}

// triesMax is how many endpoints a request may try.
const triesMax = 3

// turns returns the endpoints to try, beginning with the next one.
func turns(s *service, p *servicePort) []string {
	n := len(p.endpoints)
	if n == 0 {
		return nil
	}
	at := int(s.turn.Add(1) % uint64(n))
	out := make([]string, 0, triesMax)
	for i := range min(n, triesMax) {
		out = append(out, p.endpoints[(at+i)%n])
	}
	return out
}

func (p *Proxy) newReverse() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: p.plain, BufferPool: newBuffers(),
		ModifyResponse: func(r *http.Response) error {
			x := r.Request.Context().Value(exchangeKey{}).(*exchange)
			edit(r.Header, x.rule.Filters.Response)
			edit(r.Header, x.backend.Filters.Response)
			return nil
		},
		ErrorHandler: p.fail,
	}
}

// rewrite makes the request that the backend gets.
func rewrite(r *httputil.ProxyRequest) {
	x := r.In.Context().Value(exchangeKey{}).(*exchange)
	r.SetXForwarded()
	_, port, err := net.SplitHostPort(r.In.Host)
	if err != nil {
		port = map[bool]string{false: "80", true: "443"}[x.secure]
	}
	r.Out.Header.Set("X-Forwarded-Port", port)
	r.Out.URL.Scheme, r.Out.Host = "http", r.In.Host
	for _, f := range []*route.Filters{&x.rule.Filters, &x.backend.Filters} {
		edit(r.Out.Header, f.Request)
		if f.Rewrite == nil {
			continue
		}
		if f.Rewrite.Host != "" {
			r.Out.Host = f.Rewrite.Host
		}
		if c := f.Rewrite.Path; c != nil {
			r.Out.URL.Path, r.Out.URL.RawPath = c.Apply(r.Out.URL.Path, x.rule.Path), ""
		}
	}
}

func edit(h http.Header, e *route.Edit) {
	if e == nil {
		return
	}
	for _, name := range e.Remove {
		h.Del(name)
	}
	for _, s := range e.Set {
		h.Set(s.Name, s.Value)
	}
	for _, a := range e.Add {
		h.Add(a.Name, a.Value)
	}
}

// fail answers in place of a backend that did not.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, why := http.StatusBadGateway, "the backend did not answer"
	var ne net.Error
	switch {
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		return // the client has gone
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout():
		status, why = http.StatusGatewayTimeout, "the backend did not answer in time"
	}
	p.cfg.Log.Debug("passing a request on", "host", r.Host, "err", err)
	http.Error(w, why, status)
}

// location is where a redirect leads.
func location(rule *route.Rule, r *http.Request, port int32) string {
	d := rule.Redirect
	u := *r.URL
	u.Scheme = map[bool]string{false: "http", true: "https"}[r.TLS != nil]
	host := normal(r.Host)
	// "port": where it is empty, that of the scheme if one is given, else the listener's
	// (Gateway API, HTTPRequestRedirectFilter).
	to := port
	switch d.Scheme {
	case "http":
		to = route.HTTPPort
	case "https":
		to = route.HTTPSPort
	}
	if d.Scheme != "" {
		u.Scheme = d.Scheme
	}
	if d.Port != 0 {
		to = d.Port
	}
	if d.Host != "" {
		host = d.Host
	}
	if u.Host = bracketed(host); !(u.Scheme == "http" && to == route.HTTPPort || u.Scheme == "https" && to == route.HTTPSPort) {
		u.Host += ":" + strconv.Itoa(int(to))
	}
	if d.Path != nil {
		u.Path, u.RawPath = d.Path.Apply(r.URL.Path, rule.Path), ""
	}
	return u.String()
}

// bracketed returns a host as URLs have it (RFC 3986 §3.2.2).
func bracketed(host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "[" + host + "]"
	}
	return host
}

// Mirrored requests are kept small and few: nobody waits for them.
const (
	mirrorBytesMax = 256 << 10
	mirrorsMax     = 256
	mirrorTime     = 10 * time.Second
)

// mirror sends copies of the request where the rule wants them, if its body is known
// to be small.
func (p *Proxy) mirror(snap *snapshot, x *exchange, r *http.Request) {
	all := slices.Concat(x.rule.Filters.Mirrors, x.backend.Filters.Mirrors)
	if len(all) == 0 || r.ContentLength < 0 || r.ContentLength > mirrorBytesMax {
		return
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), errReader{err}))
	if err != nil {
		return
	}
	for i := range all {
		m := &all[i]
		svc := snap.services[m.Backend.Service]
		port := svc.port(&m.Backend)
		if port == nil || m.Denominator > 0 && rand.Int32N(m.Denominator) >= m.Numerator {
			continue
		}
		to := &exchange{rule: &route.Rule{}, backend: &m.Backend, port: port, counts: svc.counts, tries: turns(svc, port)}
		select {
		case p.plain.mirrors <- struct{}{}:
		default:
			continue
		}
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), exchangeKey{}, to), mirrorTime)
		out := r.Clone(ctx)
		out.Body, out.RequestURI, out.URL.Scheme = io.NopCloser(bytes.NewReader(body)), "", "http"
		go func() {
			defer func() { <-p.plain.mirrors }()
			defer cancel()
			if resp, err := p.plain.RoundTrip(out); err == nil {
				io.Copy(io.Discard, io.LimitReader(resp.Body, mirrorBytesMax))
				resp.Body.Close()
			}
		}()
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) {
	if e.err == nil {
		return 0, io.EOF
	}
	return 0, e.err
}
