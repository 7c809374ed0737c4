// Package job checks what is written about Jobs that run: their status, and how one
// status may follow another (Kubernetes, batch/v1 JobStatus). Controllers other than our
// own write it, where spec.managedBy names them.
//
// It is not for a Job's spec, which package validate checks.
//
// A check that only the present status could fail is made where the fields it is about
// change, so that one that is wrong already can still be mended step by step.
//
// How to debug: each fault names its field.
package job
