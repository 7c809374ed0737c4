package view

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// Encoding is how events go to a client: encoded and framed.
type Encoding struct {
	Encode func(t watch.EventType, o runtime.Object) ([]byte, error)
	// Stored does the same with an object as it stands in the log, if that is what
	// clients read; else it returns nil. It may be nil.
	Stored func(t watch.EventType, value []byte) []byte
}

// Direct lets watches write to their clients themselves. The library's handler sees to
// the request, the headers and the time-out as ever; but what it would be handed over a
// channel, to look up the encoding of, the watcher writes. That is one goroutine woken
// for an event where it was two. Tables, metadata alone, compressed streams and
// WebSockets go over the channel.
func Direct(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := request.RequestInfoFrom(req.Context())
		flusher, flushes := w.(http.Flusher)
		if !ok || !flushes || info.Verb != "watch" || req.Header.Get("Upgrade") != "" || strings.Contains(req.Header.Get("Accept"), "as=") {
			next.ServeHTTP(w, req)
			return
		}
		d := &direct{ResponseWriter: w, flusher: flusher, info: info, begun: make(chan struct{})}
		next.ServeHTTP(d, req.WithContext(context.WithValue(req.Context(), directKey{}, d)))
	})
}

type directKey struct{}

// directs counts the watches that write themselves.
var directs atomic.Int64

// Directs returns how many watches have written to their clients themselves since the
// process started.
func Directs() int64 { return directs.Load() }

// direct is the answer to one watch. The library writes its head and flushes it; from
// then on it belongs to the watcher that took it, until that has ended.
type direct struct {
	http.ResponseWriter
	flusher http.Flusher
	info    *request.RequestInfo
	taken   bool
	code    int
	begun   chan struct{} // closed when the head has been sent
}

// Unwrap implements what http.ResponseController and the library's wrappers ask for.
func (d *direct) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (d *direct) WriteHeader(code int) {
	d.code = code
	d.ResponseWriter.WriteHeader(code)
}

// Flush implements http.Flusher.
func (d *direct) Flush() {
	d.flusher.Flush()
	select {
	case <-d.begun:
	default:
		close(d.begun)
	}
}

// CloseNotify implements http.CloseNotifier, which the library's wrappers ask for
// before they pass on a Flusher.
func (d *direct) CloseNotify() <-chan bool {
	if n, ok := d.ResponseWriter.(http.CloseNotifier); ok {
		return n.CloseNotify()
	}
	return make(chan bool)
}

// takeDirect returns the answer that the watch may write to, nil if it may not.
func (v *View) takeDirect(ctx context.Context) *direct {
	d, _ := ctx.Value(directKey{}).(*direct)
	if d == nil || d.taken || len(v.encodings) == 0 || v.form.Out != nil {
		return nil
	}
	d.taken = true
	return d
}

// stream writes a watcher's events.
type stream struct {
	d       *direct
	media   string
	encode  Encoding
	pending bool // written and not flushed
	count   interface{ Inc() }
	size    interface{ Observe(float64) }
}

// begin waits for the answer's head and returns where to write, nil where the events go
// over the channel.
func (d *direct) begin(ctx context.Context, encodings map[string]Encoding) *stream {
	select {
	case <-d.begun:
	case <-ctx.Done():
		return nil
	}
	media := d.Header().Get("Content-Type")
	encode, ok := encodings[media]
	if !ok || d.code != http.StatusOK || d.Header().Get("Content-Encoding") != "" {
		return nil
	}
	directs.Add(1)
	labels := []string{d.info.APIGroup, d.info.APIVersion, d.info.Resource}
	return &stream{
		d: d, media: media, encode: encode,
		count: metrics.WatchEvents.WithContext(ctx).WithLabelValues(labels...), size: metrics.WatchEventsSizes.WithContext(ctx).WithLabelValues(labels...),
	}
}

// write sends an event with the next flush and reports whether it could.
func (s *stream) write(e watch.Event) bool {
	return s.out(s.encode.Encode(e.Type, e.Object))
}

// writeShared is write for what other watchers are sent too.
func (s *stream) writeShared(t watch.EventType, e *told) bool {
	return s.out(e.framed(s.media, t, s.encode))
}

func (s *stream) out(b []byte, err error) bool {
	if err != nil {
		return false
	}
	if _, err := s.d.ResponseWriter.Write(b); err != nil {
		return false // the client left
	}
	s.pending = true
	s.count.Inc()
	s.size.Observe(float64(len(b)))
	return true
}

func (s *stream) flush() {
	if s.pending {
		s.pending = false
		s.d.flusher.Flush()
	}
}
