// Package looptest holds what the tests of every control loop share: a World (a
// store with a clock and IDs of its own), golden scripts of what loops write,
// and Check, the properties that every loop must have.
//
// # Scripts
//
// A script is a txtar file; each section is one command, its body the command's
// input or its expected output. The comment on top says what is shown.
//
//	-- put --           YAML documents: create or replace these objects
//	-- merge --         YAML documents: JSON-merge these into existing objects
//	-- delete pods a/b  remove rows
//	-- advance 30s --   move the clock
//	-- settle --        run the loops to rest; the body is what was written
//
// A settle's body has a line "+ table key", "~ table key" or "- table key" for each
// row that changed, in order of table and key, and below it each field that
// differs. UIDs, revisions and creation times are left out. `go test
// ./internal/... -update` rewrites the bodies; review the diff.
//
// # Properties
//
// Check runs a script and holds a loop to: at rest a step writes nothing, warm
// or with fresh caches; the same script gives the same rows; a loop comes to
// rest. That a loop writes only tables it declares is held by the store, in
// every test.
//
// The package defines the flag -update; tests that import it define no other.
package looptest
