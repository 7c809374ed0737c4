// Package server is the composition root: the only place where the parts of a
// manager and of a node are put together.
//
// Run brings up what Config asks for and blocks until its context ends and
// everything that was started has stopped. A manager is the log, the store, the
// control loops, the dispatcher and the doors; a node is its containers'
// runtime, the dataplane and the agent. Both may share a process and then share
// nothing else: the agent speaks to the manager through the same session as any
// other.
//
// # State
//
// Everything lives under Config.Root: pki/ (authority, join token, kubeconfig),
// etcd/ (the log), bundle/ (what the binary carries), containerd/, agent/,
// cni/. One process a root: Root/trireme.lock is held while it runs.
//
// # How to debug
//
// `trireme doctor` for the surroundings, Root/trireme.log for the process,
// Root/containerd/containerd.log for the runtime.
package server
