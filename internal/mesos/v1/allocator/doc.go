// Package allocator is the generated Go form of mesos.v1.allocator: answers to inverse offers.
// See package trireme/internal/mesos.
package allocator
