// Package neighbours answers what pods ask of the pods around them: affinity and anti-affinity between
// pods, and topology spread (Kubernetes, "Assigning Pods to Nodes", "Pod Topology Spread Constraints").
// It knows nothing of resources, and gives nobody a node.
//
// # Indexes
//
// Nothing is found by looking at pods one after the other. A match is a set of pods: of some namespaces,
// by a selector. A guise is what matches can tell of a pod: its namespace and labels. Which match
// matches which guise is found once for each pair, by an equality that the selector demands. A
// counter holds how many pods of a match there are, a bond how many pods own a term about them; both by domain,
// which is a value of a node's label. A pod that gets a node or leaves it moves the counters of its guise and the bonds it
// owns, in the domains of that node.
//
// All this sleeps until somebody asks: without a term in the cell a pod costs nothing here.
//
// # Asking
//
// A View is what one class of pods asks. Judge and Pull answer for one node, by the counters
// themselves: they may be asked while pods are taken away to see what would be, as for preemption. Prepare
// adds up what concerns the class by domain, and Ask answers from that for many nodes.
//
// An Index belongs to one goroutine. It is pure.
//
// # How to debug
//
// The tests hold every answer against a plain reading of all pods, on random cells.
package neighbours
