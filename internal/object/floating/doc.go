// Package floating holds our own kinds AddressPool and FloatingIP: addresses that
// belong to no node, that one node at a time answers for, and that follow what
// they lead to.
//
//	field of a FloatingIP          who writes it
//	spec                           its user; orchestrate/floatingip where a service owns it
//	status.address, Allocated      allocate/floating
//	status.node, Announced         orchestrate/floatingip
//	status.loadBalancer (Service)  allocate/services
//
// It is pure: what the kinds are, and what can be read from an object alone. The
// kinds are defined by floating.yaml, which every cluster has from its first start
// (server); their rows are among tables.CustomObjects.
package floating
