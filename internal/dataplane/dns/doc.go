// Package dns answers a node's containers for the cluster's domain from the
// tables the agent has, and asks resolvers for everything else: those of the longest
// stub domain that a name is in, or the node's own. What they say is remembered for
// as long as they say (RFC 2308 for what does not exist).
//
// It follows the Kubernetes "DNS-Based Service Discovery" specification, schema
// 1.1.0:
//
//	NAME.NS.svc.DOMAIN               A     the cluster address; headless: the ready endpoints
//	                                 CNAME ExternalName, and what the name leads to
//	HOST.NAME.NS.svc.DOMAIN          A     an endpoint by its hostname, or by its address with dashes
//	tasks.NAME.NS.svc.DOMAIN         A     the ready endpoints of any service, as Docker's swarm has it
//	_PORT._PROTO.NAME.NS.svc.DOMAIN  SRV   named ports
//	A-B-C-D.NS.pod.DOMAIN            A     the address that the name spells
//	D.C.B.A.in-addr.arpa             PTR   cluster addresses and endpoints
//	NAME.NETWORK.NS.net.DOMAIN       A     a service's ready pods, or the pod, by their addresses on a tenants' network
//	HOST.NAME.NETWORK.NS.net.DOMAIN  A     and so on, as for a headless service
//
// Who asks is known by the address that asks (View). The names of a tenants' network are
// there for the pods on it alone, and to a pod that is on such networks only
// NAME.NS.svc.DOMAIN is what NAME is on them. A service may be known on a network by other
// names too, and under an address that it has there (Front).
//
// A name that exists without a record of the asked type is answered empty, one
// that does not exist with NXDOMAIN, both with the zone's SOA. Records live 5
// seconds.
//
// Zone may be changed while Server answers. Debug with
// `dig @10.96.0.10 NAME.NS.svc.cluster.local`.
package dns
