// Package tell is how loops speak to people: events about an object, as
// kubectl describe shows them.
//
// It is not for logs and not for conditions, which programs read. Events live in
// memory only; dispatch drops those that are old or too many.
package tell
