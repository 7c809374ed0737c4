// Package tunnel is a node's side of the encrypted overlay: its keys, and the process
// that encrypts (cmd/trireme-tunnel), started, told its peers, and watched.
//
// It is not for links, routes and rules (package link, Seal), which keep the overlay's
// packets from going any other way, nor for which nodes there are (dataplane).
//
// The protocol between nodes is WireGuard, on UDP port Port. A peer is known by its
// public key, and what it sends is taken only if it comes from its node's address. Keys
// lie in the folder, readable by root alone:
//
//	key          the private key in use, base64
//	next         the one that is to follow: in use once this node's Node shows it
//	tunnel.sock  where the process is told keys and peers, by WireGuard's configuration
//	             protocol (www.wireguard.com/xplatform)
//	tunnel.log   what the process said
//
// The process outlives the agent, whose successor finds it by the socket: connections
// between pods do not notice. It ends when its link is removed. One that another release
// of Trireme brought is replaced.
//
// A key is replaced without both sides agreeing on a moment: the node goes over to its
// new key when it sees it in its own Node, the others when they see that Node, and
// whoever is later begins the handshake.
//
// Run is the one goroutine that touches the process; all other methods only say what is
// wanted and may be called at any time.
//
// Debug: tunnel.log; `printf 'get=1\n\n' | nc -U ROOT/tunnel/tunnel.sock` shows peers, the
// time of each one's last handshake, and bytes (and the private key).
package tunnel
