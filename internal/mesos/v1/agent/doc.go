// Package agent is the generated Go form of mesos.v1.agent: the agent's operator API.
// See package trireme/internal/mesos.
package agent
