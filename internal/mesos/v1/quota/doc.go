// Package quota is the generated Go form of mesos.v1.quota: guarantees and limits of roles.
// See package trireme/internal/mesos.
package quota
