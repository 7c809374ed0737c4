// Package nft writes a node's service, masquerade and policy rules to nftables, in
// process over netlink: one table of family ip, one transaction a change, no
// rule and no chain for a service or an endpoint.
//
// The decision for a new connection, in the chains "in" (prerouting) and "out"
// (output), is two map look-ups:
//
//	vips            addr . proto . port → goto random-N | hash-N-Ts
//	ports           proto . port → the same       any local address: node, mesh and host ports
//	vip-backends    addr . proto . port . n → addr . port
//	port-backends   proto . port . n → addr . port
//
// N is the count of backends, and n is random or the client's hash, below N. The
// chain random-N is shared by all fronts of that count and made when first
// needed, because the modulus is part of an nftables expression.
//
// With affinity the chain is hash-N-Ts, which first asks where the client was led to
// in the last T seconds, and whether that still is a backend:
//
//	vip-clients     client . addr . proto . port → addr . port    written by packets
//	port-clients    client . proto . port → addr . port
//	vip-sticky      addr . proto . port . backend . port          backends of today
//	port-sticky     proto . port . backend . port
//
//	empty-vips      addr . proto . port → goto refuse | drop    asked before NAT
//	empty-ports     proto . port → the same
//	from-vips       addr . proto . port → goto from-HASH          asked before that: drops whom
//	from-ports      proto . port → the same                       the set from-HASH does not have
//	inside-vips     addr . proto . port → goto inside-N           asked first, of pods and the node
//	inside-vip-to   addr . proto . port → the same of the cluster address; -ports, -port-to
//	hairpin         addr . addr                   a pod of this node that calls itself
//	floating        addr                          floating addresses that this node answers for
//	float-in        addr → addr                   those of pods, to the pod
//	float-out       addr → addr                   from the pod
//
// Network policies are asked when a packet is forwarded, after its destination was
// translated: in "egress" for the sender's, then in "ingress" for the receiver's.
// What the node itself says to its pods is not forwarded.
//
//	isolated-out    addr → goto out-HASH          pods of this node, by source
//	isolated-in     addr → goto in-HASH           by destination
//
// The chains and sets behind them are those of package filter.
//
//	closed          addr                          pods on tenants' networks only
//
// A tenant's network has a table of the same name in its own network namespace: see
// RebuildSpace.
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
