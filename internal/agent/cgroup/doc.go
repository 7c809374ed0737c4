// Package cgroup keeps the tree of control groups that pods run in, and turns
// requests and limits into what the kernel understands.
//
// The tree is /trireme (with a hash behind it where the state root is not the
// usual one), in it burstable and besteffort, in these pod<UID>; a Guaranteed
// pod's group lies at the top: the layout the kubelet documents, so that the
// tools of the field find their way. The container runtime makes the
// containers' groups inside a pod's. Version 1 and version 2 of the kernel's
// interface are served.
//
// It does not watch anything and keeps no state but the file system's.
//
// To debug: `systemd-cgls /trireme`, or find /sys/fs/cgroup -path '*trireme*'.
package cgroup
