// Package front keeps the ports of a manager, whether it leads or not.
//
// Who knocks at a port is let in here while this manager leads. While another does, the
// connection is passed on to it, byte by byte, with the address that it came from; while nobody
// does, it waits for a while. So every manager answers for the cluster at every door, and
// clients need not know who leads.
//
// # Passing on
//
// Managers have a port for it, which lets in nobody but managers (mutual TLS). A connection
// begins with a line of JSON that names the door and the address of who knocked; the answer is one
// byte once somebody serves it. What was passed on ends when its leader leads no more.
//
// # Nothing stale
//
// What a client says is read only while this manager is known to lead at that moment: one that was
// stopped for a while, and woken after others chose another leader, answers nobody. All connections
// of a term are closed when it ends.
//
// # How to debug
//
// `trireme manager ls` says who leads; a manager logs each change.
package front
