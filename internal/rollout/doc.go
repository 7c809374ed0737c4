// Package rollout is the one engine that replaces old pods by new ones under
// limits. Deployment, StatefulSet, DaemonSet, swarm service and Marathon app map
// their words onto Policy and Group and carry out the Plan.
//
// It is pure arithmetic over counts: it knows no pods, no tables and no clock.
// One call is one step: the caller applies the plan, looks at what became of it
// and calls again.
//
// # What holds after every plan
//
//   - Never more than Desired+Surge pods are asked for (old pods that were there
//     before a scale-down apart).
//   - No available pod is given up where that would leave fewer than
//     Desired-Unavailable available; pods that are not available anyway go first.
//   - No more than Parallelism new pods are on their way at once, and Delay
//     passes between two batches.
//   - A plan computed from its own outcome changes nothing until a count or the
//     time does.
//
// Step sizes groups of pods that are all alike; Replace renews places that have a
// pod each, one node or one ordinal, and says which.
//
// # Words
//
//	here         Deployment                swarm service           Marathon app
//	Surge        maxSurge                  parallelism, start-first  maximumOverCapacity
//	Unavailable  maxUnavailable            parallelism, stop-first   1 - minimumHealthCapacity
//	Parallelism  –                         parallelism             –
//	Delay        –                         delay                   –
//	FailureMax   –                         max-failure-ratio       –
//	Deadline     progressDeadlineSeconds   –                       –
//
//	Replace      DaemonSet                 StatefulSet
//	Place        a node                    an ordinal, the highest first
//	Surge        maxSurge                  –
//	Unavailable  maxUnavailable            maxUnavailable, 1 where it says nothing
//	Parallelism  –                         as Unavailable
//	Held         –                         below the partition
//
// How to debug: testdata/*.txt are rollouts played to the end, a line a step.
package rollout
