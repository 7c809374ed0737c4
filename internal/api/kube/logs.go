package kube

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// The bounds of a connection that many logs share: what a client does not read fills its
// own log's room only, and a node that is gone is noticed.
const (
	logRoomBytes = 64 << 10
	logDialsMax  = 16               // to one node at a time; a connection that is full leaves room for another
	logSilence   = 15 * time.Second // until a connection is asked for a sign of life, and for that
)

// nodeTransports returns how agents are asked: for what may be upgraded, and for logs.
func nodeTransports(conf *tls.Config) (upgrades, logs http.RoundTripper) {
	first := conf.Clone()
	first.NextProtos = []string{"http/1.1"}
	return utilnet.SetTransportDefaults(&http.Transport{TLSClientConfig: first}), utilnet.SetOldTransportDefaults(&http.Transport{
		TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true, MaxConnsPerHost: logDialsMax,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: logRoomBytes, SendPingTimeout: logSilence, PingTimeout: logSilence},
	})
}

// logStream answers with a container's log, which the agent sends as the body of its
// answer.
type logStream struct {
	server *Server
	loc    *url.URL // on the agent
	fail   func(error)
	others http.Handler // of a log that is not followed
}

// ServeHTTP implements http.Handler.
func (l *logStream) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	socket := wsstream.IsWebSocketRequest(req)
	if follow := l.loc.Query().Get("follow"); !socket && follow != "true" && follow != "1" {
		l.others.ServeHTTP(w, req)
		return
	}
	ask, err := http.NewRequestWithContext(req.Context(), http.MethodGet, l.loc.String(), nil)
	if err != nil {
		l.fail(err)
		return
	}
	resp, err := l.server.logs.RoundTrip(ask)
	if err != nil {
		l.fail(apierrors.NewServiceUnavailable("asking the node: " + err.Error()))
		return
	}
	defer resp.Body.Close()
	switch {
	case socket && resp.StatusCode != http.StatusOK:
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		l.fail(apierrors.NewGenericServerResponse(resp.StatusCode, req.Method, corev1.Resource("pods"), "", string(said), 0, true))
		return
	case socket:
		err = wsstream.NewReader(resp.Body, true, wsstream.NewDefaultReaderProtocols()).Copy(w, req)
	default:
		for _, name := range []string{"Content-Type", "X-Content-Type-Options"} {
			if v, ok := resp.Header[name]; ok {
				w.Header()[name] = v
			}
		}
		w.WriteHeader(resp.StatusCode)
		err = passOn(w, resp.Body)
	}
	if err != nil && req.Context().Err() == nil {
		l.server.cfg.Log.Debug("sending a log", "err", err)
		panic(http.ErrAbortHandler) // or the client would take what it has for all of it
	}
}

// logBuffers are for what came in one go; who waits for a line has a small one of its own.
var logBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// passOn writes what body has as soon as it has it.
func passOn(w http.ResponseWriter, body io.Reader) error {
	out := http.NewResponseController(w)
	if err := out.Flush(); err != nil {
		return err
	}
	for few := make([]byte, 1<<10); ; {
		n, err := body.Read(few)
		if _, failed := w.Write(few[:n]); failed != nil {
			return failed
		}
		if n == len(few) && err == nil {
			err = passMuch(w, body)
		}
		if failed := out.Flush(); failed != nil {
			return failed
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// passMuch writes what there is more, until less comes than was asked for.
func passMuch(w io.Writer, body io.Reader) error {
	b := logBuffers.Get().(*[32 << 10]byte)
	defer logBuffers.Put(b)
	for {
		n, err := body.Read(b[:])
		if _, failed := w.Write(b[:n]); failed != nil {
			return failed
		}
		if err != nil || n < len(b) {
			return err
		}
	}
}
