// Package plugin is what the CNI plugin and the dataplane say to each other.
//
// The plugin holds no state and makes no choice: it hands its environment and
// its configuration to the dataplane over a unix socket and prints the answer.
// It is executed twice in each pod's life, so this package imports little.
//
// Wire: one JSON Request, one JSON Response, then the connection ends. The words
// are those of the CNI specification 1.1.0.
package plugin
