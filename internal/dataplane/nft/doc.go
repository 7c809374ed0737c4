// Package nft writes a node's service and masquerade rules to nftables, in
// process over netlink: one table of family ip, one transaction a change, no
// rule and no chain for a service or an endpoint.
//
// The decision for a new connection, in the chains "in" (prerouting) and "out"
// (output), is two map look-ups:
//
//	vips            addr . proto . port → goto random-N | hash-N
//	ports           proto . port → the same       any local address: node, mesh and host ports
//	vip-backends    addr . proto . port . n → addr . port
//	port-backends   proto . port . n → addr . port
//
// N is the count of backends, and n is random or the client's hash, below N. The
// chain random-N is shared by all fronts of that count and made when first
// needed, because the modulus is part of an nftables expression.
//
//	empty-vips      addr . proto . port → goto refuse | drop    asked before NAT
//	empty-ports     proto . port → the same
//	hairpin         addr . addr                   a pod of this node that calls itself
//
// Keys hold only what lies in the packet: a key made of another map's result
// would save copies of the backends (one a front), but nft 1.0 cannot list it.
//
// Debug with `nft list table ip trireme0`; elements carry the service's
// name as comment.
//
// Table is for one goroutine. After an error the kernel's table is as before
// (a transaction is whole or not at all) and Rebuild brings it in line.
package nft
