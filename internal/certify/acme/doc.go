// Package acme answers what asks for certificates of an ACME server, Let's Encrypt say
// (package ask): trireme.dev/certificate: acme. The hosts are proved by HTTP (RFC 8555
// §8.3, http-01): the server asks for a token on port 80 of each, which leads to the
// nodes that answer for Ingresses.
//
//	order ──► tokens as a row of routes ──► every node answers with them ──► the server is
//	told to ask ──► finalize ──► the secret that was asked for; the tokens go
//
// The order's URL and the certificate's private key are in a secret beside the one that
// is asked for before the server is told anything of them, so that whoever leads next goes
// on with the same order. That secret also says when to try again after a failure. The
// account's key is a secret of kube-system, one a directory.
//
// It is not for wildcards, which http-01 cannot prove.
//
// # Tables
//
// Reads and writes secrets and the rows of routes that answer challenges; reads nodes and
// what ask reads; writes events.
//
// # How to debug
//
// kubectl describe ingress NAME: a failure is an event with the server's own words and
// when it is tried again; at once if the secret SECRET.acme is deleted.
package acme
