// Package mesosv1 is the generated Go form of mesos.v1: the nouns that every API shares.
// See package trireme/internal/mesos.
package mesosv1
