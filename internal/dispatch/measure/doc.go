// Package measure asks every agent what its node and pods use and keeps the answers in
// the tables of samples, from which the Kubernetes door serves metrics.k8s.io and the
// autoscaler decides.
//
// It runs on the leading manager. Every round asks all agents, some at a time, and
// writes what came as one transaction of rows that live in memory; a round costs the log
// nothing. CPU use is the difference of two readings. What an agent says of pods that
// are not bound to its node is dropped. A sample that nobody renews goes after a minute,
// so that nobody acts on what is old.
//
// With an answer come the series that pods show of themselves: see agent/scrape.
//
// How to debug: an agent that does not answer is logged when it begins and ends to;
// `kubectl get --raw /apis/metrics.k8s.io/v1beta1/pods` shows what is known.
package measure
