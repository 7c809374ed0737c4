// Package auditlog writes down who asked the door for what, as a policy file says
// (Kubernetes, "Auditing"): to a file of JSON lines, to a webhook, or to both.
//
// It is not for what the cluster does by itself: that is events and the log.
//
// The file is written before the answer leaves, so that nothing is answered that
// is not written down. The webhook is sent batches; a webhook that is too slow
// loses events, which is counted and logged, and never delays a request.
package auditlog
