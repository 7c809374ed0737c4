// Package adapters asks metrics adapters for what autoscalers name, where one is
// registered: an APIService of custom.metrics.k8s.io or external.metrics.k8s.io with a
// Service behind it (Kubernetes, "Support for metrics APIs"). What they say goes into the
// table of answers, from which the autoscaler decides.
//
// It is not for what pods show of themselves, which needs no adapter: package measure.
//
// It runs on the leading manager. A round asks for every metric of types Pods, Object and
// External of all autoscalers, some at a time, and writes what came as one transaction of
// rows in memory. Where no adapter is registered it asks nobody and writes nothing. An
// adapter that hangs delays the answers of its round by askFor, and nothing else.
//
// How to debug: `kubectl get --raw` with the path of the question; `kubectl describe hpa`
// shows an adapter's error.
package adapters
