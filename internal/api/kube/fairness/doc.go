// Package fairness keeps one client's flood from starving others: requests are
// classified by FlowSchemas, and each priority level has its seats and its queues
// (Kubernetes, "API Priority and Fairness"; KEP-1040). The queues are the API
// library's; this package feeds them: the objects by an informer over the loopback
// client, how much a list will cost from the tables, and the objects that every
// cluster has, which it also keeps.
//
// Ordering: until the informer has listed, only the mandatory objects classify.
//
// How to debug: `kubectl get flowschemas`, `kubectl get --raw
// /debug/api_priority_and_fairness/dump_priority_levels`, the response headers
// X-Kubernetes-PF-FlowSchema-UID and -PriorityLevel-UID, metrics
// apiserver_flowcontrol_….
package fairness
