// Package sim attaches hollow nodes to a manager: real certificates, real
// sessions, real reports, and no containers.
//
// # What it is for
//
// Measuring managers with many nodes on one machine. Each hollow node joins with
// the token, holds a key and certificate of its own and keeps its own connection
// through package wire, as an agent does. Its pods run after a delay and end when
// they are deleted, or when the time is over that their environment names (RunForEnv).
//
// It is not a model of what nodes do wrong, and hollow pods have no network.
//
// # How to debug
//
// `kubectl get pods -o wide`: hollow nodes' names start with the prefix.
package sim
