package object

import corev1 "k8s.io/api/core/v1"

// AddressesAnnotation says who chooses the addresses of a node's pods, as the node itself
// says: AddressesByPlugins, or, without it, managers.
const AddressesAnnotation = "trireme.dev/pod-addresses"

// AddressesByPlugins is the value of AddressesAnnotation on nodes whose pods are attached by
// CNI plugins of the user's choice. Managers give such pods no addresses: they take those
// that the node reports.
const AddressesByPlugins = "cni-plugins"

// PluginAddresses reports whether the node's pods have addresses that CNI plugins chose.
func PluginAddresses(n *corev1.Node) bool {
	return n.Annotations[AddressesAnnotation] == AddressesByPlugins
}
