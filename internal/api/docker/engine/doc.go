// Package engine is the part of the Docker door that an engine of one machine has
// elsewhere: containers, commands in them, their files, statistics and events. A container
// is one of a pod, on any node; what is done with it goes through the Kubernetes door as
// whoever asks.
//
// It is not for services, tasks and nodes (package docker), which hands requests over.
// What it keeps is in this manager's memory, and bounded: records of commands, who is
// attached, the newest events. Run does what goes on beside requests.
//
// How to debug: `docker events`, `docker inspect NAME`; the audit log of the Kubernetes API
// has every write.
package engine
