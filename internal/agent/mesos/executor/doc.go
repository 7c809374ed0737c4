// Package executor is what a node does for executors that frameworks bring themselves: it
// serves them Mesos' executor API, hands them their tasks, and keeps what they say of these
// until their frameworks have acknowledged it.
//
//	manager ──orders──► Executors ──LAUNCH, KILL──► executor (its stream)
//	manager ◄─updates── journal  ◄────UPDATE─────── executor
//
// A task's updates lie in order in a file of its own (journal) before they are acknowledged to
// the executor, so an agent that starts anew goes on with them; executors subscribe again. An
// executor that ends leaves tasks that have failed.
//
// An executor is believed to be one by the address that it calls from: its pod's, or the
// node's where it is on the node's network.
package executor
