// Package cronjob makes Jobs on a schedule (Kubernetes, "CronJob") and keeps the status
// of each CronJob and the number of its ended Jobs.
//
// It is not for running the Jobs (job).
//
// A Job's name is the CronJob's and the minute it is for, so that no time starts two,
// whoever leads. The clock is the transaction's; the loop sleeps until the next time of
// any schedule. Times that passed while nobody looked start one Job, the latest.
//
// How to debug: testdata/*.txtar.
package cronjob
