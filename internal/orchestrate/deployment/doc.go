// Package deployment rolls out Deployments (Kubernetes, "Deployments"): one
// ReplicaSet for each template a Deployment has had, sized by the rollout engine
// until only the newest has pods.
//
// It is not for pods (replicaset makes them) and not for what is allowed at a
// time (rollout decides that): this package translates. It writes Deployments'
// status and revision annotation, and everything of the ReplicaSets it owns but
// their status.
//
// What clients of Kubernetes rely on is kept: the label pod-template-hash, the
// annotations deployment.kubernetes.io/{revision,revision-history,
// desired-replicas,max-replicas}, the conditions Available, Progressing and
// their reasons, so that kubectl rollout status, history, undo, pause and resume
// work.
//
// A template is recognised by comparison, not by its hash, so sets that came
// with a snapshot of another Kubernetes are kept.
//
// How to debug: testdata/*.txtar plays rollouts.
package deployment
