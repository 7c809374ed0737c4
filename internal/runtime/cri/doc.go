// Package cri is the runtime that speaks the Container Runtime Interface
// (k8s.io/cri-api, runtime.v1) to containerd, or to whatever serves one.
//
// It translates: our words to protobuf, gRPC status to internal/kind, and it
// gives every call a time limit by its class. It keeps no state: what exists is
// asked of the runtime each time, so a restarted agent adopts what runs. It does
// not supervise the runtime's process; runtime/containerd does that.
//
// Everything made here carries the label trireme.dev/owner, and List, Events and
// Stats see only that: a runtime may be shared with others. The labels that
// tools of the field look for (io.kubernetes.pod.name …) are set as well. Both
// are taken off again before labels are handed out.
//
// Import is not part of CRI. It uses containerd's transfer and streaming
// services on the same socket; other runtimes answer kind.Invalid.
//
// A Runtime may be used by any number of goroutines. The connection is made when
// first used and made anew when the runtime comes back; calls made meanwhile
// fail with kind.Unavailable at once.
//
// To debug: crictl --runtime-endpoint unix://SOCKET shows the same picture.
package cri
