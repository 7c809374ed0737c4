// Package sandbox says what a Pod carries of a Mesos task's sandbox and of a command
// without an image, so that doors and loops that make such Pods and the agents that run
// them mean the same.
//
//	mesos.trireme.dev/sandbox  Place, as JSON: where on its node the sandbox lies
//	mesos.trireme.dev/uris     []URI, as JSON: what is fetched into it before the start
//	mesos.trireme.dev/root     "host": a container of the pod runs on the node's own root
//
// The sandbox is an emptyDir volume with the name of Volume that outlives its Pod for a
// week: the agent puts it below its own root, in the folders that Mesos' agents use. What
// the containers that mount it write to their outputs is in its files stdout and stderr
// too.
//
// It is pure.
package sandbox
