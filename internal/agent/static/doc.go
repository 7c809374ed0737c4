// Package static keeps the pods of a directory of manifests, which run without any
// manager, and what of them managers see: their mirrors (Kubernetes, "Create static
// Pods").
//
//	files ──► Scan ──► the pod, with a UID of its own ──► assigned like any other
//	                        │                                   ▲
//	                     Mirrors ──► manager ──► mirror's row ──┘ Rewrite: its addresses
//
// The agent knows the pod by its own UID; a manager knows the mirror, a row of
// another UID that may be deleted and made again while the pod runs on. Rewrite turns
// what managers say of mirrors into words about pods, Report the other way round.
//
// It starts and stops nothing. A Set may be used concurrently.
//
// To debug: the log names each file that is not a pod, and why.
package static
