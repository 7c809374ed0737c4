// Package runtimetest is the conformance suite of runtime.Runtime: the fake and
// the real runtime pass the same one, so that what is tested on the fake holds
// on a node.
//
// The suite speaks of containers whose first word is Prog; Harness says how the
// runtime under test brings it. Nothing waits for a time to pass: a test waits
// for an event and looks.
//
// It also makes what a test of a real runtime needs and no registry should be
// asked for: the program, built from testdata/prog, and an archive of an image
// that holds nothing else.
package runtimetest
