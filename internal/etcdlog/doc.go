// Package etcdlog is the store's log and disk: an etcd member embedded in the
// process. It is the only package that knows etcd.
//
// # Layout
//
// Rows stand under Kubernetes' own keys (/registry/…) with Kubernetes' own
// values. One key of ours, /trireme/commit, is the fence: every commit is an
// etcd transaction that compares the fence's modification revision with the one
// this writer left there, and writes it anew. A writer that was replaced finds
// another revision and gets ErrFenced, so two leaders can never both commit.
//
// The fence's value names the revisions the commit gave out: a commit of n rows
// carries the revisions first … first+n-1, in the order of the operations. That
// is how the history of recent writes, deletions included, is read back after a
// restart, with every revision as it was (see the comment of package store).
//
// # Concurrency
//
// A Leader belongs to one goroutine, the store's. Run owns the etcd server and
// the compaction of its history.
//
// # How to debug
//
// `etcdctl --endpoints unix://DIR/client.sock get --prefix /registry --keys-only`.
package etcdlog
