// Package route reads the kinds that say how requests from outside find services, and
// writes the one form that nodes' proxies know (package object/route): a row an object.
// It tells each object which nodes answer for it.
//
//	kind      row                       status it writes
//	Ingress   NAMESPACE/ingress.NAME    loadBalancer: the nodes that answer
//
// What of an Ingress has no effect is said in events of it: a host and path that an older
// one has, in whatever namespace, and an issuer of certificates that is none.
//
// An Ingress is ours where its class is, or where it names none and the default class
// is ours.
//
// It is not for certificates, nor for endpoints: a node knows them itself.
//
// How to debug: testdata/*.txtar; kubectl describe ingress NAME.
package route
