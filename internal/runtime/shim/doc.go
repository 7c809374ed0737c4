// Package shim is the process between the runtime native and the containers of
// a node: it starts them through an OCI runtime (crun or runc), is their parent,
// writes their logs, and notes how they ended. One serves all containers of a
// node. It goes on when the agent ends, and a new one takes over when it is
// killed: no container depends on it.
//
// Everything lies in the folder <Root>/native, type Dir:
//
//	shim.sock, shim.lock, shim.log      the socket; held by the one that runs; what it said
//	runtime/                            the OCI runtime's own state
//	containers/ID/record.json           Record, written by the driver before the start
//	containers/ID/config.json           the OCI bundle's configuration, by the driver
//	containers/ID/out, err, in          named pipes of a container without a terminal
//	containers/ID/state.json, exit.json State and Exit, written by the shim, each once
//
// Why a killed shim harms nobody: a container's output is a named pipe that the
// container itself holds open for reading and writing, so a write never fails;
// at worst it waits for the next shim to read. The next shim is not the parent
// and cannot wait for the container: it learns of the end by a pidfd, and of the
// exit code by PIDFD_GET_INFO (Linux 6.15) or from the unreaped process. Where
// neither tells, the exit code is 255 and Exit.Unknown is set.
//
// The protocol: one request a connection, a line of JSON (Request) with file
// descriptors beside it, answered by lines of JSON (Response). A closed
// connection ends what the request was waiting for. It imports nothing of
// Kubernetes: the process stays at a few megabytes.
//
// To debug: read shim.log; `crun --root <Root>/native/runtime list`.
package shim
