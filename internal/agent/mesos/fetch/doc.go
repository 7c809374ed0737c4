// Package fetch brings what a task asks for into its sandbox before it starts: files that
// HTTP serves or that the node has, unpacked where they are archives (Mesos,
// docs/fetcher.md).
//
// What it is given is not trusted: servers may stall or send without end, archives may name
// paths outside of the sandbox, or grow by unpacking. Everything is written through an
// os.Root of the sandbox, and every amount has a limit.
//
// A Fetcher may be used from any goroutine; what two ask for at a time with cache is
// fetched once.
package fetch
