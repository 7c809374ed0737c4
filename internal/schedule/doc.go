// Package schedule gives pods their nodes.
//
// It is one loop. It reads Pods, Nodes and what pods' claims lead to, and writes a
// pod's spec.nodeName and its condition PodScheduled; nobody else does. It tells of
// both in events. For claims that wait for their first pod it writes the claimRef
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
// above all, form a class. A class filters and scores each node once and keeps
// the nodes in a heap. Placing a pod takes the top; a node whose version has
// moved since is scored again when it comes to the top, and a node that has got
// better meanwhile is found through the cell's list of improvements.
//
// # Refusals
//
// Each filter explains itself. A pod that no node takes gets one condition in
// Kubernetes' words, which is written again only when it would say something
// else; the class is tried again when a node has improved. Explain answers for
// one pod, node by node.
//
// # How to debug
//
// `trireme why POD`; the scripts in testdata; BenchmarkPlace.
package schedule
