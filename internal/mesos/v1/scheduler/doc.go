// Package scheduler is the generated Go form of mesos.v1.scheduler: calls and events of frameworks.
// See package trireme/internal/mesos.
package scheduler
