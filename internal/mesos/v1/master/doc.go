// Package master is the generated Go form of mesos.v1.master: the master's operator API.
// See package trireme/internal/mesos.
package master
