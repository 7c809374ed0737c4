// Package mesos serves Mesos' agent API on a node (Mesos, docs "Agent operator HTTP API"): what
// runs for frameworks, the files of its sandboxes, commands and streams in its containers, and
// the executor API (package executor).
//
// Who asks, and whether they may, a manager says: whoever may list pods of a namespace sees what
// runs in it, pods/log are its sandboxes, and pods/exec is what reaches into it. The version and
// the health are anybody's. Executors are known by their address instead.
//
// Containers are pods: the id of one is its pod's UID, and a nested one is a command that runs in
// its pod's container.
package mesos
