// Package store keeps every object of the cluster: typed tables in memory in
// front of a replicated log.
//
// # What it is for
//
// A Table holds rows of one noun in key order, with secondary indexes. Readers
// take a Snapshot (one atomic load, no lock, no copy) and see one moment of all
// tables. Writers pass a function to Update: it sees the head state, which
// includes writes that are not on disk yet, and its puts and deletes become
// visible together or not at all. The head runs ahead of the log; sealed
// transactions are committed in order and in groups by Run, and only then do
// the caller of Update, readers of Snapshot and watchers learn of them.
//
// It is not for I/O (that is the Log: etcdlog on a manager, nothing in pure
// tests), for decisions (loops), or for wire formats (doors).
//
// # Rows
//
// A row is a small head (its key, its revision, and what the table's Head
// function extracted) beside the encoded object. The decoded object is dropped
// after the commit in tables declared Cold and decoded again when someone asks
// for it whole. Objects returned by a Table are shared: change a DeepCopy.
// An object handed to Put belongs to the store from then on.
//
// # Revisions
//
// Every write of a row takes the next revision. It is the row's
// resourceVersion, and it is stored in the row, so that it survives a restart
// and is the same on every manager. Revisions are unique and ordered over all
// durable tables. They never fall behind etcd's own revision, but they are not
// equal to it: one etcd transaction carries many rows, and a watcher that
// resumes after one of them must be able to name it (docs/decisions/0002).
// Volatile tables (events) are not logged and count in a sequence of their own.
//
// # Concurrency
//
// Update functions run one at a time. Snapshots may be read from any number of
// goroutines. Run owns the log: one goroutine, one group in flight, in order.
// When the log refuses a write, Run returns; every pending Update fails with
// kind.Unavailable and the head state must be thrown away (Load a new Store).
//
// # How to debug
//
// Table.All on a Snapshot in a test, `etcdctl get --prefix /registry` on disk:
// keys and values are in Kubernetes' own etcd layout.
package store
