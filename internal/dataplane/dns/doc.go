// Package dns answers a node's containers for the cluster's domain from the
// tables the agent has, and asks the node's own resolvers for everything else.
//
// It follows the Kubernetes "DNS-Based Service Discovery" specification, schema
// 1.1.0:
//
//	NAME.NS.svc.DOMAIN               A     the cluster address; headless: the ready endpoints
//	                                 CNAME ExternalName, and what the name leads to
//	HOST.NAME.NS.svc.DOMAIN          A     an endpoint by its hostname, or by its address with dashes
//	_PORT._PROTO.NAME.NS.svc.DOMAIN  SRV   named ports
//	A-B-C-D.NS.pod.DOMAIN            A     the address that the name spells
//	D.C.B.A.in-addr.arpa             PTR   cluster addresses and endpoints
//
// A name that exists without a record of the asked type is answered empty, one
// that does not exist with NXDOMAIN, both with the zone's SOA. Records live 5
// seconds.
//
// Zone may be changed while Server answers. Debug with
// `dig @10.96.0.10 NAME.NS.svc.cluster.local`.
package dns
