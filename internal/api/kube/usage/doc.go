// Package usage serves metrics.k8s.io/v1beta1, what nodes and pods use, from the tables
// of samples (internal/dispatch/measure fills them): `kubectl top` works with nothing
// installed.
//
// Get and list, with label and field selectors; the group has no watch. A pod or node
// that nobody has measured yet is not found.
package usage
