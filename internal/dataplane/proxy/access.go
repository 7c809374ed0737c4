package proxy

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// accessLog writes a line a request, beside the requests: where the writer is slower than
// they come, lines are left out and counted.
type accessLog struct {
	lines chan access
	lost  atomic.Uint64
}

// What the log holds at most: lines that wait, and bytes of a text that a client chose.
const (
	accessWaitingMax = 4096
	accessTextMax    = 1024
)

// access is a line of the log. A query is not in it: it may hold secrets.
type access struct {
	Time       time.Time `json:"time"` // when the request came
	Client     string    `json:"client"`
	Host       string    `json:"host"`
	Protocol   string    `json:"protocol"`
	Method     string    `json:"method"`
	Path       string    `json:"path"`
	Status     int       `json:"status"`            // 0: the client left before there was an answer
	Bytes      int64     `json:"bytes"`             // of the answer's body
	DurationMS float64   `json:"durationMs"`        // to the end of the answer
	Service    string    `json:"service,omitempty"` // NAMESPACE/NAME; empty: the node answered by itself
	Backend    string    `json:"backend,omitempty"` // the endpoint that was asked last
}

// note has a request that has ended written down. It does not wait.
func (l *accessLog) note(a *answering, r *http.Request, began time.Time, took time.Duration) {
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = r.RemoteAddr
	}
	line := access{
		Time: began.UTC(), Client: client, Host: short(r.Host), Protocol: r.Proto, Method: short(r.Method), Path: short(r.URL.Path),
		Status: a.status, Bytes: a.bytes, DurationMS: float64(took.Microseconds()) / 1000,
	}
	if a.exchange != nil {
		line.Service, line.Backend = a.exchange.backend.Service.String(), a.exchange.at
	}
	select {
	case l.lines <- line:
	default:
		l.lost.Add(1)
	}
}

func newAccessLog() *accessLog { return &accessLog{lines: make(chan access, accessWaitingMax)} }

func short(text string) string { return text[:min(len(text), accessTextMax)] }

// run writes lines until ctx ends, and then those that wait.
func (l *accessLog) run(ctx context.Context, to io.Writer) {
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	write := func(line access) {
		if encoder.Encode(line) != nil {
			l.lost.Add(1)
		}
	}
	for {
		select {
		case line := <-l.lines:
			write(line)
			continue
		case <-ctx.Done():
		}
		for len(l.lines) > 0 {
			write(<-l.lines)
		}
		return
	}
}
