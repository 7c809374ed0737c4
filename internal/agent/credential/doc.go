// Package credential has what pods prove themselves with: the tokens of their
// service accounts and the certificates that their projected volumes ask for. A
// Keeper asks the manager of the session for them, remembers them, and says when
// a pod's volumes are to be made anew because one is to be renewed.
package credential
