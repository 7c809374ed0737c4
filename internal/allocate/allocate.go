package allocate

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/loop"
	"trireme/internal/store"
)

// Config says what there is to give out.
type Config struct {
	// PodCIDRs are the networks of all pods, one a family, the primary one first; each
	// node gets a /24 or a /64 of them.
	PodCIDRs []netip.Prefix
	// ServiceCIDRs are the networks of services' cluster IPs, likewise.
	ServiceCIDRs []netip.Prefix
	// NodePortMin and NodePortMax bound node ports, both included.
	NodePortMin, NodePortMax int32
	// Reserved are TCP ports of every node that no service may claim.
	Reserved []int32
}

// Allocator gives out what Config holds.
type Allocator struct{ cfg Config }

// New returns an Allocator.
func New(cfg Config) *Allocator { return &Allocator{cfg: cfg} }

// Reserved reports whether a TCP port of every node is the cluster's own.
func (a *Allocator) Reserved(port int32) bool { return slices.Contains(a.cfg.Reserved, port) }

// Loops returns the control loops, in the order in which they should step.
func (a *Allocator) Loops() []loop.Reconciler {
	return []loop.Reconciler{newNodes(a.cfg), newPods(), &floats{cfg: a.cfg}, &networks{}, &services{a}, &addresses{a: a}}
}

// Object completes an object that a door writes, inside its transaction: a
// service gets its addresses. Errors are kind.Invalid and name the field.
func (a *Allocator) Object(tx *store.Tx, o, old store.Object) error {
	svc, ok := o.(*corev1.Service)
	if !ok {
		return nil
	}
	before, _ := old.(*corev1.Service)
	return a.Service(tx, svc, before)
}
