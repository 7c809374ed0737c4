package wire

import (
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// AgentAddress returns host:port of the HTTPS of the node's agent, empty where
// the node has not said it yet.
func AgentAddress(n *corev1.Node) string {
	port := n.Status.DaemonEndpoints.KubeletEndpoint.Port
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && port > 0 {
			return net.JoinHostPort(a.Address, strconv.Itoa(int(port)))
		}
	}
	return ""
}
