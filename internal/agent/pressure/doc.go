// Package pressure watches what a node runs short of (memory, disk, inodes,
// processes), says so in the node's conditions, and evicts pods before the kernel or
// a full disk does worse (Kubernetes, "Node-pressure Eviction"). It evicts pods that
// use more local disk than they may, too (Kubernetes, "Local ephemeral storage").
//
//	Meter.Node ──► state: thresholds that are met, and since when ──► conditions
//	                            │ hard, or soft and its grace is over
//	                            ▼
//	                reclaim what nobody uses ──► Meter.Pods ──► Rank ──► evict the first
//
// Deciding is pure: state, Rank and Overuse. Measuring is the Meter's, ending pods
// the agent's.
//
// One goroutine runs a Manager; Conditions may be called from others.
//
// To debug: the conditions of the node, events Evicted, the log's "evicting a pod".
package pressure
