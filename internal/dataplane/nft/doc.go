// Package nft writes a node's service and masquerade rules to nftables, in
// process over netlink: one table of family ip, one transaction a change, no
// rule and no chain for a service or an endpoint.
//
// The decision for a new connection, in the chains "in" (prerouting) and "out"
// (output), is four map look-ups:
//
//	vips      addr . proto . port → pool     cluster, external and ingress addresses
//	ports     proto . port → pool            any local address: node, mesh and host ports
//	shapes    pool → goto random-N | hash-N  N is the pool's count of backends
//	backends  pool . n → addr . port         n is random or the client's hash, below N
//
// The chain random-N is shared by all pools of that count and is made when first
// needed, because the modulus is part of an nftables expression. It looks the
// pool up again: registers do not live from one rule to the next.
//
//	nobody    pool → goto refuse | drop      pools without backends, asked before NAT
//	hairpin   addr . addr                    a pod of this node that calls itself
//
// Debug with `nft list table ip trireme0`; elements of vips and ports carry the
// service's name as comment. Pool numbers are the node's own.
//
// Table is for one goroutine. After an error the kernel's table is as before
// (a transaction is whole or not at all) and Rebuild brings it in line.
package nft
