// Package stack is the commands `trireme stack`: stacks of services read from files of
// the Compose Specification (package compose), by way of a manager's Docker door.
//
//	deploy: networks ─► secrets, configs ─► services ─► wait ─► what is left of before goes
//
// A deploy is idempotent: a service that is as the file says is not written, so that the
// spec to which it would roll back stays.
package stack
