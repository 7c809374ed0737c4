// Package zookeeper answers ZooKeeper's clients (wire protocol of 3.4) from a small
// read-only tree: enough for programs that find the leading Mesos master at zk://HOST:2181/mesos.
//
// It is no ZooKeeper: a tree is what its maker sets, writes are refused with NotReadOnly,
// sessions end with their connection, and ACLs say that the world may read.
//
// Bounds: a request of 64 KiB, 1,000 connections, 1,000 watches a connection; a client
// that says nothing for its session's timeout is cut.
package zookeeper
