// Package queue is the line that pods without a node stand in.
//
// Pods that no rule can tell apart are a class, and those of a class that wait are a Line, the oldest
// first. A line is looked at, not its pods: when no node takes its first, it takes none, and the line is shut. It
// knocks when something has got better for it: a node with the labels that it asks for came or changed,
// room got free of which it wanted more, a limit moved. What could let a line in is an index, so that
// lines that fit nowhere cost nothing, however many they are. A line that knocked and was refused again
// waits behind those that were not.
//
// Each pod is told once why it waits; the oldest of a line are told again when that changes.
//
// Next says whose turn it is: by priority, then pods of accepted offers, then always the oldest of the tenant
// that stands lowest (internal/share).
//
// It is pure and belongs to one goroutine. What it needs of nodes, a Cell and its Nodes tell.
//
// How to debug: Looks counts what was looked at in vain.
package queue
