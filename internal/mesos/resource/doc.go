// Package resource is Mesos' resource algebra: scalars with exactly three decimals, ranges
// and sets, that may be reserved (statically, dynamically, in stacks of refinements), shared,
// revocable, or a persistent volume (Apache Mesos, docs "Attributes and Resources",
// "Reservation", "Persistent Volumes", "Shared Resources", "Oversubscription").
//
// It is for whoever takes messages apart or makes offers, and knows no tables. Conversion to
// the messages is in proto.go, to what pods ask for in pod.go.
//
// Resources are values: operations return new lists and share what does not change. A List is
// kept in the order of names with equal kinds merged, so that equal amounts print alike.
//
// What is shared is never used up: Minus leaves it, Contains asks only whether it is there.
//
// How to debug: List's String is the text form that operators write.
package resource
