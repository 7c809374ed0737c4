package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const dialTime = 3 * time.Second

// transports speak to endpoints.
type transports struct {
	http1, h2c *http.Transport
	mirrors    chan struct{} // room for copies of requests
}

func newTransports() transports {
	dial := (&net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}).DialContext
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	return transports{
		http1:   &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 256, MaxIdleConns: 4096, IdleConnTimeout: time.Minute, DisableCompression: true},
		h2c:     &http.Transport{DialContext: dial, Protocols: h2c, IdleConnTimeout: time.Minute, DisableCompression: true},
		mirrors: make(chan struct{}, mirrorsMax),
	}
}

// RoundTrip asks the endpoints of the request's exchange in turn: see the package
// comment for when another one is tried.
func (t transports) RoundTrip(r *http.Request) (*http.Response, error) {
	x := r.Context().Value(exchangeKey{}).(*exchange)
	through := t.http1
	if x.port.h2c || x.backend.H2C {
		through = t.h2c
	}
	if r.Body != nil {
		defer r.Body.Close()
	}
	err := errors.New("no endpoint")
	for _, at := range x.tries {
		x.at = at
		var resp *http.Response
		if resp, err = try(through, r, at, x.rule.BackendTimeout); err == nil {
			return resp, nil
		}
		if r.Context().Err() == nil {
			x.counts.failures.Add(1)
		}
		if r.Context().Err() != nil || !unsaid(err) && !repeatable(r) {
			break
		}
	}
	return nil, err
}

// try asks one endpoint; limit 0 is none.
func try(through *http.Transport, r *http.Request, at string, limit time.Duration) (*http.Response, error) {
	if limit == 0 {
		return ask(through, r, at)
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	resp, err := ask(through, r.WithContext(ctx), at)
	if err != nil {
		cancel()
		return nil, err
	}
	if both, ok := resp.Body.(io.ReadWriteCloser); ok { // a connection that was upgraded
		resp.Body = &endingBoth{both, cancel}
	} else {
		resp.Body = &ending{resp.Body, cancel}
	}
	return resp, nil
}

func ask(through *http.Transport, r *http.Request, at string) (*http.Response, error) {
	out, u := *r, *r.URL
	u.Host = at
	out.URL = &u
	if r.Body != nil {
		out.Body = kept{r.Body}
	}
	return through.RoundTrip(&out)
}

// kept is a body that another try may still need.
type kept struct{ io.Reader }

func (kept) Close() error { return nil }

// ending is an answer's body that ends its try.
type ending struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (e *ending) Close() error {
	defer e.cancel()
	return e.ReadCloser.Close()
}

type endingBoth struct {
	io.ReadWriteCloser
	cancel context.CancelFunc
}

func (e *endingBoth) Close() error {
	defer e.cancel()
	return e.ReadWriteCloser.Close()
}

// unsaid reports whether nothing was sent.
func unsaid(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// repeatable reports whether a request does no harm when it arrives twice.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return r.Body == nil || r.Body == http.NoBody
	}
	return false
}

// buffers are what answers are copied through.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}}
}

func (b *buffers) Get() []byte  { return *b.pool.Get().(*[]byte) }
func (b *buffers) Put(x []byte) { b.pool.Put(&x) }
