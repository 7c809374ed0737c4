package route

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// ClosedAnnotation of a Node says on which ports it does not answer requests from
// outside though it is asked to, "80,443", or ClosedAll. The node says so itself.
const (
	ClosedAnnotation = "trireme.dev/ingress-closed"
	ClosedAll        = "all"
)

// AddressesMax bounds the addresses named in a status: a thousand of them in every row
// would help nobody, and a Gateway may have 16.
const AddressesMax = 16

// Closed is the value of ClosedAnnotation for some ports; empty: all are open.
func Closed(ports []int32) string {
	var out []string
	for _, p := range slices.Sorted(slices.Values(ports)) {
		out = append(out, strconv.Itoa(int(p)))
	}
	return strings.Join(out, ",")
}

// Front is a node that answers requests from outside.
type Front struct {
	Address netip.Addr
	closed  string
}

// Fronts returns the node's addresses, none where it answers nothing.
func Fronts(n *corev1.Node) (out []Front) {
	closed := n.Annotations[ClosedAnnotation]
	if closed == ClosedAll || !object.NodeReady(n) {
		return nil
	}
	for _, a := range object.NodeAddresses(n) {
		out = append(out, Front{a, closed})
	}
	return out
}

// Whole reports whether every port is answered.
func (f Front) Whole() bool { return f.closed == "" }

// Addresses returns where all of the ports are answered, the first 16.
func Addresses(fronts []Front, ports []Port) (out []string) {
	for _, f := range fronts {
		if len(out) < AddressesMax && !slices.ContainsFunc(ports, f.shuts) {
			out = append(out, f.Address.String())
		}
	}
	return out
}

func (f Front) shuts(p Port) bool {
	return f.closed != "" && slices.Contains(strings.Split(f.closed, ","), strconv.Itoa(int(p.Port)))
}
