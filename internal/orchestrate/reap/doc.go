// Package reap is how loops delete: as the API would, and not twice.
//
// It is not for what a deletion does to an object (object.Deletion), nor for
// dependents (gc).
package reap
