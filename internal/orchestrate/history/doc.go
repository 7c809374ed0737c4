// Package history keeps the templates that a StatefulSet or DaemonSet has had, as
// ControllerRevisions (API reference, ControllerRevision), so that its pods can be
// told apart and kubectl rollout history and undo work.
//
// It is not for pods, nor for what becomes of them when a template changes.
//
// A revision's data is a patch that brings the template back, in the very bytes
// that kubectl compares with. A template is recognised by its meaning, not by its
// hash or bytes, so that revisions that came with a snapshot of another
// Kubernetes are kept, and with them the pods that run them.
//
// How to debug: `kubectl get controllerrevisions`; the scripts of statefulset and
// daemonset.
package history
