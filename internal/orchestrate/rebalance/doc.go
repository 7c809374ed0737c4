// Package rebalance is the control loop that moves pods to nodes that have come, where whoever made
// them wants that (object.RebalanceKey).
//
//	reads   Pods, Nodes, budgets; what owns pods: ReplicaSets, ReplicationControllers,
//	        StatefulSets, swarm Services, Marathon Apps; Namespaces
//	writes  of Pods: the deletion of those that move, the label by which orchestrate/swarm
//	        replaces a task; of Nodes: the annotation object.OpenSinceAnnotation; of budgets:
//	        what a move takes of them (policy.Disrupt)
//
// It is not for giving pods their nodes: the scheduler does, and what this loop knows of that is
// enough not to move in vain. A node is open while it is ready and takes pods. A pod moves from
// one node to another where
//
//   - the other was opened after all pods of the owner on the one got there: since then the scheduler
//     has not had the choice. What moves gets its node later than that, so that it does not move
//     again before another node is opened: nothing goes back and forth;
//   - the other would have room for it, and has at least two less of the owner's pods; or one less,
//     where the node stays fuller than the other by what is asked for, and is by a fifth now;
//   - nothing holds it where it is: data of its node, a budget;
//   - the owner is at rest: all of its pods are ready, and have been for its pause.
//
// A pod of a swarm Service gets a label, and its loop replaces the task by the rules of its updates.
// Others are evicted. At most movingMax owners have pods on the move.
//
// How to debug: the event Rebalanced of a pod; testdata/*.txtar.
package rebalance
