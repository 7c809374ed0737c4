// Package machine says what a pod on this node needs next and how it is: Decide
// and Status are pure functions of the pod and of what its worker has observed.
//
// It is not for doing any of it: package agent executes a Step and writes what
// comes of it into Observed.
//
// Observed is plain data that one goroutine owns; nothing here keeps it.
//
// To debug, write the case as a line of TestDecide.
package machine
