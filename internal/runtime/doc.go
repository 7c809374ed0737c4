// Package runtime says what an agent asks of containers, in our own words, and
// holds the fake that answers it in tests and in the simulator.
//
// runtime/cri is the real one: it speaks the Container Runtime Interface to
// containerd, or to whatever serves one. Both pass the same conformance suite,
// runtime/runtimetest.
//
// Every call is idempotent: stopping what is stopped and removing what is gone
// succeeds. Every call blocks until it is done or ctx ends. IDs are the
// runtime's and mean nothing to anybody else. Errors are classified by
// internal/kind: NotFound, Exists, Unavailable (the runtime does not answer),
// Denied (registry credentials), Invalid (the runtime refuses the config).
package runtime
