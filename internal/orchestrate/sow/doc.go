// Package sow is how loops make pods: as the API would, had the loop sent them
// there.
//
// It is not for where a pod goes (schedule), nor for what may be written from
// outside (admit): whoever composes the manager hands in what admission has to
// say as Rules.
package sow
