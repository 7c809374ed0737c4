// Package executor is the generated Go form of mesos.v1.executor: calls and events of executors.
// See package trireme/internal/mesos.
package executor
