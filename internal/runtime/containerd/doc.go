// Package containerd keeps Trireme's own containerd running under a node's
// state folder, and takes everything below that folder down again.
//
//	<Root>/containerd/config.toml      written anew at each start
//	<Root>/containerd/containerd.sock  CRI and containerd's API
//	<Root>/containerd/containerd.log   bounded; containerd.log.1 is the part before
//	<Root>/containerd/root             images, snapshots, metadata: survives everything
//	<Root>/containerd/state            shims' bundles, runc's state, network namespaces: until the next boot
//	<Root>/containerd/s                shims' sockets; for a long Root a folder of /run/trireme
//
// Containers do not depend on containerd: each runs under its shim, so ending or
// killing containerd, or us, leaves them alone, and the next containerd finds
// them again. A containerd that a killed predecessor left behind is ended before
// ours starts; it is recognised in /proc by the configuration file it was given,
// so no pid file can lie.
//
// It does not speak CRI beyond asking whether containerd is there; runtime/cri
// does. It sets up no network: CNI plugins and their configuration are given.
//
// To debug: read containerd.log; start `containerd --config config.toml` by hand.
package containerd
