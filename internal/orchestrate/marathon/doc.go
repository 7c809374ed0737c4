// Package marathon is the control loops of Marathon's apps (object/marathon): pods for
// their instances, the core Services by which others reach them, and the steps of
// deployments.
//
//	reads   Apps, Deployments, Pods, Nodes; namespaces, quotas and refusals to try again
//	writes  Pods and core Services of apps; status of Apps and Deployments; takes away
//	        Deployments that are done
//
// A step of an app goes:
//
//	what its deployment lets it follow ─► instances that ended are counted (backoff), and go
//	─► how many of which generation there may be (rollout.Step) ─► some end, others start
//	─► core Services ─► status
//
// An instance that ended by itself makes the next wait (Backoff). One on a node that is away
// counts as gone once its app's unreachableStrategy says so; when it goes itself is the
// business of whoever evicts pods from nodes.
//
// A deployment's step is done when its apps have settled at the versions that its actions
// name, or, where they are stopped, when their last pod has gone.
package marathon
