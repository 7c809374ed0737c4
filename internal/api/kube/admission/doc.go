// Package admission is what a request that writes passes between its decoding
// and the store: the cluster's own rules (package admit), then policies and
// webhooks, which are k8s.io/apiserver's plugins fed from the store's tables.
//
// It is not for what must hold inside the transaction, such as quotas: package
// admit sees to that.
//
// # Order
//
// As in Kubernetes: rules and policies complete the object, webhooks change it,
// then rules, policies and webhooks may refuse it. Nothing here holds a lock of
// the store, so that a webhook that hangs delays its own request only.
package admission
