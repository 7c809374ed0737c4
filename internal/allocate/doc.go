// Package allocate gives out what may be had only once: the pod subnet of a
// node, the address of a pod, the cluster IP, node ports and mesh ports of a
// service, the address of a FloatingIP.
//
// Five loops read Nodes, Pods and Services. allocate/nodes writes a node's
// spec.podCIDR; allocate/pods a pod's status.podIP, in the tick in which the pod
// gets its node, unless the node's CNI plugins choose it; allocate/services what a service lacks, and the ingress of
// load balancers; allocate/floating the addresses of FloatingIPs, out of
// AddressPools; allocate/addresses shows cluster IPs as IPAddresses and keeps
// ServiceCIDRs, which add ranges to the cluster's own. Object does the services' part in a door's own transaction,
// so that the answer to a create shows the addresses.
//
// What is taken is what the rows say: there is no other record of it, so nothing
// can leak. Caches hold it by node and are rebuilt on a full pass. Addresses and
// subnets are given out in turn, so that one that was just freed is not used
// again at once.
package allocate
