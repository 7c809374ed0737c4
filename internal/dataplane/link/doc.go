// Package link makes a node's links and routes over netlink: the anchor that
// holds the node's own addresses, a veth a pod, and a VXLAN to the other nodes.
//
//	pod A             pod B                      other nodes' pods
//	 eth0 10.128.0.5    eth0 10.128.0.6                ▲
//	  │                  │                             │
//	tri…               tri…      (host's IP layer)   trireme0-vx ── UDP 4789 ── peers
//	  └──── /32 route ───┴──── trireme0: 10.128.0.1, 10.96.0.10 (no ports)
//
// A pod has its address as /32 and the gateway 169.254.1.1 on its link, with a
// fixed neighbour entry on either side: nothing is broadcast, nothing asked, and
// every packet passes the host's IP layer, where connection tracking sees both
// directions. The anchor is a bridge without ports: a kernel without the dummy
// driver has bridges.
//
// The overlay has no learning: for each peer one forwarding entry, one neighbour
// entry and one route, all known from the peer's Node. A node's VTEP address is
// derived from its name, so there is nothing to exchange.
//
// Everything made here is found again by name or by alias ("trireme0 default/web"),
// so that another process can adopt or remove it. All calls act in one network
// namespace, whichever thread they come from.
package link
