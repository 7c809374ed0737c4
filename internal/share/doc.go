// Package share is who stands lowest: weighted dominant resource fairness over a tree of tenants
// (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011; Apache Mesos, docs "Weights", "Roles").
//
// A tenant's share is the largest part that it has of any resource of the cluster, divided by its
// weight. Among the children of one tenant the lowest share comes first; then who has fewer
// allocations; then the path. A tenant with children stands among them with what is its own alone.
//
// The scheduler takes pods by it, offers are made by it; each keeps a Tree of its own from the same
// tables. The tree is kept in order with every charge: a charge moves a tenant past those that it
// overtakes and no further.
//
// It is pure and belongs to one goroutine.
package share
