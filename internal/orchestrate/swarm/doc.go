// Package swarm is the control loop of swarm services (object/swarm): a pod for each
// task, and the core Services that lead to them.
//
//	reads   swarm Services, Pods, Nodes, core Services, Secrets and ConfigMaps; namespaces,
//	        quotas and refusals to try again
//	writes  Pods of its services, core Services and autoscalers of its services, the
//	        Secrets that a task's templates expand to; status of a swarm Service, and its
//	        spec where an update is rolled back
//
// A service has slots: numbers of a replicated one, nodes of a global one. A slot has
// one task that runs or is to run, two in the midst of an update that starts first, and
// keeps some that have ended (object/swarm, ClusterSpec). A step goes:
//
//	services beside it ─► slots too many end ─► tasks that may not stay on their nodes end
//	─► old tasks are replaced (rollout.Replace) ─► empty slots get a task, when the restart
//	policy says so ─► old history goes ─► status
//
// A task that is replaced is not deleted: its deadline passes, and its pod stays (retire).
// A job's slots each want a task of the present iteration that succeeded (jobs.go).
// How a pod stands is remembered, so that one that comes to run is no reason to look at
// all others of its service.
//
// An update replaces each slot as a worker of its own: a slot counts as on its way until
// its new task runs, and the delay after it has passed. Failures of new tasks within the
// time that they are watched pause it or roll it back (Docker Engine API, UpdateConfig).
package swarm
