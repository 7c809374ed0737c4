// Package job runs pods to their end (Kubernetes, "Jobs"): it creates, adopts,
// counts and deletes the pods of every batch/v1 Job and writes the Job's status.
//
// It is not for schedules (cronjob) and not for removing Jobs that have ended (ttl).
//
// # Counting
//
// Every pod carries the finalizer batch.kubernetes.io/job-tracking until it is
// counted, so that none goes uncounted whoever deletes it. Taking the finalizer away
// and raising the counter are one transaction where the store keeps it whole, which
// it does for small ones; else they are the three steps that the API reference gives
// for status.uncountedTerminatedPods, so that a prefix of a tick counts no pod twice.
//
// # State
//
// The cache holds of each pod what its head says and is rebuilt at a full pass. A
// step costs the pods that changed; only pods that have just ended are decoded.
//
// A Job that ends goes through these conditions:
//
//	running ──► SuccessCriteriaMet ──(no pod is left)──► Complete
//	   └──────► FailureTarget ───────(no pod is left)──► Failed
//
// How to debug: testdata/*.txtar.
package job
