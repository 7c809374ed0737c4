// Package plans answers plans.trireme.dev: what would happen if objects were applied or nodes drained.
//
//	POST /apis/trireme.dev/v1/plans    answers 201 with the Plan and its status; nothing is kept
//	GET  /apis/trireme.dev/v1/plans    there are none
//
// The kind is defined as users' kinds are, for discovery and `kubectl explain`; this handler stands before what
// would keep its objects. Who asks has passed authorization: to create plans is to learn where pods of
// every namespace are. Each object passes admission as an apply of the caller's that is not kept
// (dryRun=All), so what the caller may not write is refused here too, in the same words.
package plans
