// Package mesos holds the wire format of Mesos v1: below v1 the messages, as
// generated from the .proto files beside them, and in codec their JSON and
// protobuf forms, the negotiation between the two and RecordIO.
//
// Names and numbers are those of Apache Mesos 1.12-dev, include/mesos/v1. What a
// message means is no matter of this folder: the door (internal/api/mesos) and
// the agent know that. Nothing here imports anything of ours but kind.
package mesos
