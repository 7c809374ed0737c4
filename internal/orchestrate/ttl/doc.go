// Package ttl deletes Jobs that have ended once their time is up (Kubernetes,
// "Automatic Cleanup for Finished Jobs"), their pods with them.
//
// How to debug: testdata/*.txtar.
package ttl
