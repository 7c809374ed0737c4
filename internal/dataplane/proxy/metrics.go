package proxy

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"trireme/internal/object"
)

// classes of answers: by the first digit of their status. Class 0 is no answer: the
// client left, or the connection broke, before there was one.
const classes = 6

// counts is what a service's endpoints were asked; those of the zero service are what
// the proxy answered by itself. It lives as long as a rule leads to the service, so
// that figures are no more than routes.
type counts struct {
	answers  [classes]atomic.Uint64
	failures atomic.Uint64 // tries of endpoints that gave no answer
}

// bounds are the upper bounds of the histogram's buckets.
var bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// figures are what is counted beside services.
type figures struct {
	own   counts
	took  [len(bounds) + 1]atomic.Uint64 // requests by duration
	nanos atomic.Uint64                  // of all of them
}

// answering notes the status of an answer. http.ResponseController finds what the
// writer can do through Unwrap.
type answering struct {
	http.ResponseWriter
	status   int
	bytes    int64
	counts   *counts   // whose request it is
	exchange *exchange // nil: no backend was found
}

func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answering) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answering) Write(b []byte) (int, error) {
	a.status = cmp.Or(a.status, http.StatusOK)
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// count counts a request that has ended. How long an upgraded connection lasted says
// nothing of answers.
func (f *figures) count(a *answering, took time.Duration) {
	a.counts.answers[min(a.status/100, classes-1)].Add(1)
	if a.status == http.StatusSwitchingProtocols {
		return
	}
	at, _ := slices.BinarySearch(bounds[:], took)
	f.took[at].Add(1)
	f.nanos.Add(uint64(took))
}

// WriteMetrics writes what the proxy did, in Prometheus' text format. Any goroutine
// may call it.
func (p *Proxy) WriteMetrics(w io.Writer) {
	snap := p.now.Load()
	of := map[object.Key]*counts{{}: &p.figures.own}
	for key, s := range snap.services {
		of[key] = s.counts
	}
	head := func(name, kind, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	keys := object.SortedKeys(of)

	head("trireme_ingress_requests_total", "counter", "Requests from outside by the service that was asked (empty: answered by the node) and the class of the answer.")
	for _, key := range keys {
		for class := range of[key].answers {
			if n := of[key].answers[class].Load(); n > 0 {
				fmt.Fprintf(w, "trireme_ingress_requests_total{namespace=%q,service=%q,code=%q} %d\n", key.Namespace, key.Name, className(class), n)
			}
		}
	}
	head("trireme_ingress_backend_errors_total", "counter", "Tries of a service's endpoints that gave no answer.")
	for _, key := range keys {
		if n := of[key].failures.Load(); n > 0 {
			fmt.Fprintf(w, "trireme_ingress_backend_errors_total{namespace=%q,service=%q} %d\n", key.Namespace, key.Name, n)
		}
	}
	head("trireme_ingress_open_connections", "gauge", "Connections of clients to a port; there is room for 16384.")
	if open := p.open.Load(); open != nil {
		for _, port := range slices.Sorted(maps.Keys(*open)) {
			fmt.Fprintf(w, "trireme_ingress_open_connections{port=\"%d\"} %d\n", port, len((*open)[port].room))
		}
	}
	if p.access != nil {
		head("trireme_ingress_access_log_lost_total", "counter", "Requests that the access log lacks: it could not be written, or not so fast.")
		fmt.Fprintf(w, "trireme_ingress_access_log_lost_total %d\n", p.access.lost.Load())
	}
	head("trireme_ingress_request_duration_seconds", "histogram", "From a request's headers to the end of its answer.")
	sum := uint64(0)
	for i := range p.figures.took {
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(bounds[i].Seconds(), 'g', -1, 64)
		}
		sum += p.figures.took[i].Load()
		fmt.Fprintf(w, "trireme_ingress_request_duration_seconds_bucket{le=%q} %d\n", le, sum)
	}
	fmt.Fprintf(w, "trireme_ingress_request_duration_seconds_sum %g\n", time.Duration(p.figures.nanos.Load()).Seconds())
	fmt.Fprintf(w, "trireme_ingress_request_duration_seconds_count %d\n", sum)
}

func className(class int) string {
	if class == 0 {
		return "none"
	}
	return strconv.Itoa(class) + "xx"
}
