// Package claim is what is true of persistent volumes and the claims on them
// wherever they are used: which volume may serve which claim, on which node, and
// which claims a pod names (Kubernetes, "Persistent Volumes").
//
// It does not bind (orchestrate/volume), place (schedule) or mount (agent).
package claim
