// Package cli is the trireme command line.
//
// Commands that start or stop this machine's process (up, join, down) use
// package server; every other command talks to the API with the administrator's
// kubeconfig, as any client does, and could run on any machine.
//
// # Conventions
//
// What was asked for goes to stdout, progress and errors to stderr. Colours and
// the live view appear on a terminal only. Exit codes: 0 done, 1 failed, 2 the
// command line was wrong.
package cli
