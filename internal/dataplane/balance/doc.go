// Package balance decides which address and port leads to which backends: it
// turns Services, EndpointSlices and pods with host ports into pools, and a
// change of a pool into the few map elements that differ.
//
// It is pure: it knows no kernel. Package nft writes what it decided.
//
// A Pool has fronts (what clients call) and backends (who answers). The backends
// stand in numbered slots, because a rule picks one by a random number below
// their count: a removed backend's slot is filled by the last one, so a change
// costs as many elements as backends came or went, whatever the pool's size.
//
// Two owners may claim one front (two LoadBalancer services with the same port):
// the lower Rank, then the lower name has it, and the other gets it when the
// first one goes.
//
// Rules of choice follow the Kubernetes Service documentation ("Virtual IPs and
// Service Proxies"): ready endpoints; if there is none, those that still serve
// while they terminate; a Local policy keeps the node's own.
package balance
