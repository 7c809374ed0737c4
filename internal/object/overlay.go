package object

import corev1 "k8s.io/api/core/v1"

// Annotations of Nodes that the encryption of the overlay goes by. The first two are
// written by the manager that has the node's session, nobody else.
const (
	// OverlayAnnotation says how the node is to reach the pods of others: OverlayEncrypted
	// or OverlayClear. Without it the node goes on as before.
	OverlayAnnotation = "trireme.dev/overlay"
	// OverlayKeyAnnotation is the node's public key, base64, as it says itself.
	OverlayKeyAnnotation = "trireme.dev/overlay-key"
	// OverlayRotateAnnotation is a time, RFC 3339: the node replaces a key that is older.
	OverlayRotateAnnotation = "trireme.dev/rotate-overlay-key"
)

// The values of OverlayAnnotation.
const (
	OverlayEncrypted = "encrypted"
	OverlayClear     = "clear"
)

// OverlayEncryption returns how a node stands to an encrypted overlay, in words for
// people.
func OverlayEncryption(n *corev1.Node) string {
	switch {
	case n.Annotations[OverlayAnnotation] != OverlayEncrypted:
		return OverlayClear
	case n.Annotations[OverlayKeyAnnotation] == "":
		return "no key yet"
	}
	return OverlayEncrypted
}
