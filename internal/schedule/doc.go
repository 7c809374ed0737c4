// Package schedule gives pods their nodes.
//
// It is one loop. It reads Pods, Nodes, disruption budgets and what pods' claims lead
// to, and writes a pod's spec.nodeName, its status.nominatedNodeName, its condition
// PodScheduled and what a PodGroup's status says; nobody else does. It deletes pods in favour of others. It tells of all
// in events. For claims that wait for their first pod it writes the claimRef
// of a free volume or the claim's selected node.
//
// # Cell state
//
// The cell is what the scheduler knows of all nodes: what each can give, what is
// taken, which pods take it. It is kept up to date by the rows that changed and
// rebuilt on a full pass; a test rebuilds it and compares.
//
// # Classes
//
// Pods that cannot be told apart by any filter or score, replicas of one owner
// above all, form a class. A class that is asked for a node the first time looks at
// all nodes (scan.go), the second time it makes a heap of them (heap.go), of which placing a pod takes
// the top; a node whose version has moved since is rated again when it comes to the top, and a node that has got
// better meanwhile is found through the cell's list of improvements. What a node's row alone says to a pod is kept in
// frames, which classes share (frame.go). The rules and scores in filter.go are the truth; TestAgrees holds what is faster to them.
//
// # Placement
//
// An annotation says what Kubernetes has no words for (object/swarm, Placement): swarm's
// constraints, at most so many pods of an owner a node, and a spread over groups of nodes.
// A class that is spread has a class for each group.
//
// # Company
//
// What pods ask of the pods around them (affinity, anti-affinity, topology spread) is counted in schedule/neighbours. A
// class sees it by groups of nodes, which are in the same domains of all keys that matter to it: a pod that comes to a zone
// changes the points of the zone's groups, not of their nodes. A trial takes pods out of the count and puts them back.
//
// # Ports
//
// A pod may ask for ports of its node without saying which (object, DynamicPort). They are
// chosen when it gets its node, none that another pod has there or a service has on
// every node.
//
// # Tenants
//
// Of one priority, the next pod is always the oldest of the tenant that stands lowest in the tree
// of shares (internal/share): a namespace, a stack, a role of Mesos are tenants (object/tenant). What
// a tenant's limit does not let in waits, and so does what would leave too little for the guarantees
// of others. What is reserved on a node for a role its pods take first, and others not at all.
//
// # Offers
//
// Room that an offer lends (internal/offer) counts as the role's. Pods without priority leave it to
// the framework for one interval of allocation, unless their tenant would stand no lower with it than the
// role does without: then they take it, and the offer is rescinded. A framework that does not answer
// in time is left no room until it does. Pods of accepted offers come first within their priority:
// they waited as offers.
//
// # Refusals
//
// Each filter explains itself. A pod that no node takes gets one condition in
// Kubernetes' words, which is written again only when it would say something
// else; its event adds the least that would have to change (hint.go). Explain answers for one pod, node by node.
//
// # Profiles
//
// How well a node suits a pod is a matter of the profile that the pod names as its scheduler (schedule/profile, strategy.go): what
// is left or used, by which resources, and what wishes weigh. Where pods make a node better, heaps rate nodes anew that changed.
//
// # Queue
//
// Pods stand in their class's line (schedule/queue). A line that is full is looked at again when a node
// has got better that it could be on, and then once, not once a pod: pods that fit nowhere cost others nothing.
// Sixteen of a line, the oldest, are told whenever the reason changes, the others once.
//
// # Preemption
//
// For a pod that no node takes, pods of lower priority are deleted where that is the
// least loss, and end within their grace; the pod tries again when they have left.
// Until then the cell keeps the room for it against pods of no higher priority: a pod
// must fit beside those that are on the node now, and beside those for whom room is
// kept once all have left that are leaving. A pod that fits where others are leaving
// anyway waits for that. Where no eviction helps, its class looks only at nodes that
// have got better since. A claim that one pod at a time may use is no reason to evict.
//
// # Gangs
//
// Pods of a group that go together (schedule/gang) stand in one line. A trial takes nodes for as many as have to go at once,
// domain by domain of the group's topology, with classes of its own; then all are written, or the cell is put back and nobody
// is told that it had changed. Where it fits nowhere a second trial keeps room for all and counts who would have to leave.
//
// # How to debug
//
// `trireme why POD`; the scripts in testdata; BenchmarkPlace.
package schedule
