package object

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// NodeAddress returns a node's internal address; the zero Addr: it has none yet.
func NodeAddress(n *corev1.Node) netip.Addr {
	for _, a := range NodeAddresses(n) {
		return a
	}
	return netip.Addr{}
}

// NodeAddresses returns a node's own addresses, at most one a family, the first one
// first; none: it has none yet.
func NodeAddresses(n *corev1.Node) (all []netip.Addr) {
	for _, a := range n.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		same := func(b netip.Addr) bool { return b.BitLen() == addr.BitLen() }
		if err == nil && a.Type == corev1.NodeInternalIP && !slices.ContainsFunc(all, same) {
			all = append(all, addr)
		}
	}
	return all
}

// NodeReady reports whether the node says that it can run pods.
func NodeReady(n *corev1.Node) bool {
	return NodeReadiness(&n.Status) == corev1.ConditionTrue
}

// NodeReadiness returns the status of the condition Ready, empty where there is none.
func NodeReadiness(s *corev1.NodeStatus) corev1.ConditionStatus { return readyCondition(s).Status }

// NodeReadySince returns since when the condition Ready has its status.
func NodeReadySince(s *corev1.NodeStatus) time.Time { return readyCondition(s).LastTransitionTime.Time }

func readyCondition(s *corev1.NodeStatus) corev1.NodeCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == corev1.NodeReady {
			return s.Conditions[i]
		}
	}
	return corev1.NodeCondition{}
}

// MostAway reports whether so many of all nodes are away that the fault is hardly
// theirs: all of them, or 55 % and more than two (the zone disruption of Kubernetes,
// with its numbers).
func MostAway(away, all int) bool {
	return away >= all || away > 2 && 100*away >= 55*all
}
