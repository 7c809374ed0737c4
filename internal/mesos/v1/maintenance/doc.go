// Package maintenance is the generated Go form of mesos.v1.maintenance: windows in which machines are down.
// See package trireme/internal/mesos.
package maintenance
