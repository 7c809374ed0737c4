// Package register checks what people register to take part in admission:
// webhooks, policies and their bindings. Every CEL expression is compiled, so
// that a mistake is an error of the registration, with the field and the
// compiler's words, and not of every request after it.
//
// It is apart from object/validate because expressions need the CEL environment
// of k8s.io/apiserver.
package register
