// Package rules holds the house rules as tests: import directions, sizes, doc
// comments, bans. It has no code of its own; `go test ./internal/rules` reads
// the source tree and says, file and line, what breaks which rule.
//
// A rule's exemptions stand beside it with a reason each. The lists only shrink.
package rules
