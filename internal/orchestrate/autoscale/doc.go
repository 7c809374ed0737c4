// Package autoscale sizes workloads by what they use (Kubernetes, "Horizontal Pod
// Autoscaling"): it writes spec.replicas of the targets of HorizontalPodAutoscalers, and
// the autoscalers' status.
//
// It measures nothing: what pods use, and what they show of themselves, stands in the
// tables of samples (internal/dispatch/measure). New samples, a round every 15 s, are
// what makes it decide; so does a change of an autoscaler.
//
// Metrics need no adapter. Whatever series a pod shows at the endpoint that its
// annotations name (internal/agent/scrape) may be named:
//
//	Resource, ContainerResource   cpu and memory of the target's pods
//	Pods                          a series of the target's pods, summed within a pod
//	Object                        the series of the pods of a Pod, Service, Deployment,
//	                              ReplicaSet, StatefulSet or ReplicationController, summed
//	External                      the series of all pods of the namespace, summed
//
// A counter is the rate at which it grows a second; a metric's selector is matched with
// the series' labels.
//
// What was recommended and done lately stands in a table in memory (tables.ScaleHistory),
// so that a step depends on rows alone; a manager that takes over begins anew with the
// size that it finds, as Kubernetes' does.
//
// How to debug: the autoscaler's conditions and events; testdata/*.txtar.
package autoscale
