// Package dataplane is a node's network: it wires pods, reaches the pods of
// other nodes, leads service addresses and ports to endpoints, and answers DNS.
//
// It decides nothing about the cluster: Apply is given the objects, and what the
// kernel holds follows. A change costs what it changes: a service whose endpoint
// went rewrites a handful of map elements, in one transaction.
//
//	balance  objects → pools → elements that differ    (pure)
//	filter   policies → chains, sets → what differs           (pure)
//	nft      elements, chains, sets → nftables
//	link     anchor, veths, VXLAN, routes
//	tunnel   keys and the process of an encrypted overlay
//	health   whether services that keep to their nodes have endpoints here
//	dns      names of services and pods
//	plugin   what our CNI plugin says to us
//	chain    CNI plugins of the user's, in place of our links
//
// The first Apply of a process builds the nftables table anew, in one
// transaction, and adopts the links it finds; connections go on. A full Apply
// removes what was not listed. Ending Run leaves everything in the kernel, so
// pods stay reachable while the agent restarts; Teardown removes it.
//
// Dataplane acts in the network namespace of the thread that called New,
// whichever thread calls its methods, which may be called at the same time.
//
// Debug: docs/network.md.
package dataplane
