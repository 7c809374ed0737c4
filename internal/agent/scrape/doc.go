// Package scrape reads the metrics that a pod shows of itself, in Prometheus' text
// format, at an endpoint that its annotations name:
//
//	metrics.trireme.dev/endpoint: http://localhost:9100/metrics
//
// or as many pods say it already:
//
//	prometheus.io/scrape: "true"
//	prometheus.io/port: "9100"      default: the first port of a container
//	prometheus.io/path: /metrics    default
//	prometheus.io/scheme: http      default
//
// localhost is the pod's own: the connection is made in the pod's network namespace, so
// that a process that listens on its loopback alone is reached. No other host is: a
// pod cannot send the agent anywhere else. Redirects are not followed; time, size and
// the number of series are bounded.
//
// What only grows (counters, and the counts and sums of histograms and summaries) is
// marked cumulative: who collects makes rates of it. Buckets and quantiles are left out.
//
// How to debug: `kubectl get --raw /api/v1/nodes/NODE/proxy/stats/summary?scrape=true`
// shows each pod's series, or why it has none.
package scrape
