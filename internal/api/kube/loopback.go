package kube

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	restclient "k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
)

// loopback lets the manager's own clients (informers, webhooks' resolvers,
// controllers of the library) call the door without a connection: a request
// goes straight to the handler, and its answer comes back through a pipe. Whose
// such a request is its context says, which nothing that came over the network can:
// a member of system:masters, or who called another door (Caller). One that
// asks to switch protocols gets a pipe (loopupgrade.go).
type loopback struct {
	handler atomic.Pointer[http.Handler] // nil until the door is built
}

// Loopback returns the configuration of a client that calls this door in
// process. Its rate is not limited. It serves from the moment the door is built;
// what needs a running door (watches that see commits) needs Run.
func (s *Server) Loopback() *restclient.Config { return s.loop.config() }

func (l *loopback) config() *restclient.Config { return l.as(loopbackUser) }

// as returns the configuration of a client whose requests are who's.
func (l *loopback) as(who user.Info) *restclient.Config {
	return &restclient.Config{
		Host: "https://loopback", Transport: &loopbackOf{l, who}, QPS: -1, UserAgent: "trireme/loopback",
		ContentConfig: restclient.ContentConfig{
			ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON,
		},
	}
}

func (l *loopback) serve(h http.Handler) { l.handler.Store(&h) }

type loopbackKey struct{}

var loopbackUser = &user.DefaultInfo{Name: "system:apiserver", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}

// byLoopback authenticates the requests of loopback clients.
func byLoopback(req *http.Request) (*authenticator.Response, bool, error) {
	who, ok := req.Context().Value(loopbackKey{}).(user.Info)
	if !ok {
		return nil, false, nil
	}
	return &authenticator.Response{User: who}, true, nil
}

// loopbackOf is the transport of one user's clients.
type loopbackOf struct {
	*loopback
	who user.Info
}

// RoundTrip implements http.RoundTripper. It returns when the handler has sent
// its header; the handler ends when it is done, when the request's context ends
// or when the answer's body is closed.
func (l *loopbackOf) RoundTrip(req *http.Request) (*http.Response, error) {
	h := l.handler.Load()
	if h == nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, errors.New("calling the Kubernetes API in process: it is not built yet")
	}
	ctx, cancel := context.WithCancel(context.WithValue(req.Context(), loopbackKey{}, l.who))
	in := req.Clone(ctx)
	in.RequestURI, in.RemoteAddr = in.URL.RequestURI(), "127.0.0.1:0"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	if in.Host == "" {
		in.Host = in.URL.Host
	}
	switch in.Body {
	case nil:
		in.Body = http.NoBody
	case http.NoBody:
	default:
		if in.ContentLength == 0 { // of a client's request: unknown; of a server's: nothing
			in.ContentLength = -1
		}
	}
	w := newAnswer(cancel)
	var out http.ResponseWriter = w
	var taken chan net.Conn // nil: the handler cannot take the connection
	if httpstream.IsUpgradeRequest(in) {
		in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
		u := newUpgradable(w)
		out, taken = u, u.taken
	}
	go func() {
		defer in.Body.Close()
		err := call(*h, out, in)
		w.end(cmp.Or(err, req.Context().Err()))
	}()
	select {
	case <-w.sent:
	case conn := <-taken:
		return w.upgraded(req.Context(), conn, req)
	case <-req.Context().Done():
		w.body.Close()
		return nil, req.Context().Err()
	}
	if w.err != nil {
		return nil, w.err
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.code, http.StatusText(w.code)), StatusCode: w.code,
		Proto: in.Proto, ProtoMajor: in.ProtoMajor, Header: w.frozen, Body: w.body, ContentLength: -1, Request: req,
	}, nil
}

// call runs the handler and returns its panic as an error.
func call(h http.Handler, w http.ResponseWriter, req *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the handler of %s %s panicked: %v", req.Method, req.URL.Path, p)
		}
	}()
	h.ServeHTTP(w, req)
	return nil
}

// answer is the response of one in-process request. Its handler's goroutine
// writes, its client's reads.
type answer struct {
	header http.Header
	out    *bufio.Writer
	pipe   *io.PipeWriter
	body   *answerBody

	once   sync.Once
	sent   chan struct{} // closed when code and frozen are set, or err
	code   int
	frozen http.Header
	err    error
}

// answerBody is the read end; closing it ends the request.
type answerBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close implements io.Closer.
func (b *answerBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

func newAnswer(cancel context.CancelFunc) *answer {
	r, w := io.Pipe()
	return &answer{
		header: http.Header{}, sent: make(chan struct{}), pipe: w,
		out: bufio.NewWriterSize(w, 4<<10), body: &answerBody{r, cancel},
	}
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	if code < 200 {
		return // informational: the answer proper follows
	}
	a.once.Do(func() {
		a.code, a.frozen = code, a.header.Clone()
		close(a.sent)
	})
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.out.Write(b)
}

// Flush implements http.Flusher.
func (a *answer) Flush() {
	a.WriteHeader(http.StatusOK)
	a.out.Flush() // its error comes again with the next write
}

// CloseNotify implements http.CloseNotifier, which the library's wrappers ask
// for; the request's context is what ends.
func (a *answer) CloseNotify() <-chan bool { return nil }

// end is called when the handler has returned; err says why its answer is not
// whole: it panicked, or the client went away.
func (a *answer) end(err error) {
	if err != nil {
		a.once.Do(func() {
			a.err = err
			close(a.sent)
		})
		a.pipe.CloseWithError(err)
		a.body.cancel()
		return
	}
	a.WriteHeader(http.StatusOK)
	err = a.out.Flush()
	a.pipe.CloseWithError(err) // nil: the end
	a.body.cancel()
}
