// Package filter decides which packets network policies let pass to and from the
// pods of a node: it turns policies, groups of peers and pods into chains and sets,
// and a change of them into what differs.
//
// It is pure: it knows no kernel. Package nft writes what it decided.
//
// A pod that a policy selects for one way is isolated that way: the map of that way
// leads its address to a chain, which accepts what any of the policies allow and
// drops the rest. Chains are named by the hash of what they say and never change,
// so replicas of one template share theirs, and another policy is another chain and
// another element of the map.
//
//	in-HASH      who may call:        address of the other side in a set → accept | ports-HASH
//	out-HASH     whom it may call     the same, of the destination
//	ports-HASH   several ports        accept what goes to one of them
//
//	g-ID         addresses of a group's members            a pod more is an element more
//	p-ID         the same with the port that an egress rule names
//	b-HASH       ranges: the ipBlocks of one rule, less what they except
//
// A pod on tenants' networks only (package object/network) is isolated both ways by no
// policy, and closed: its node itself hears nothing of it but questions for names.
//
// Named ports of ingress rules are the selected pod's own, so they are numbers in
// its chain. What nodes are sent of groups: package object/peers.
package filter
