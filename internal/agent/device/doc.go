// Package device serves device plugins as a kubelet does: they register at a socket,
// tell which devices there are, and say what a container needs to use one (Kubernetes,
// "Device Plugins", API v1beta1).
//
//	plugin ──Register──► DIR/kubelet.sock
//	       ◄─ListAndWatch── devices ──► Resources: the node's extended resources
//	       ◄─Allocate────── a container that asks for some ──► Given
//
// Which container has which devices is kept in a file, so that the next agent gives
// the same, and none twice. It knows nothing of topology and of preferred allocations.
//
// A Manager may be used concurrently; its own goroutines live as long as Run.
//
// To debug: the node's allocatable, the log, and the file of what was given.
package device
