// Package quota keeps the status of every ResourceQuota true: what is used is
// what the tables hold (Kubernetes, "Resource Quotas").
//
// It refuses nothing: package policy does, in the transactions that create. What
// that raises ahead of this loop, the loop confirms; what was deleted or has
// ended, it gives back.
//
// It keeps a sheet for each quota with what every row takes, so that a change
// costs the rows that changed. Tables that no quota limits are not looked at.
//
// How to debug: testdata/*.txtar.
package quota
