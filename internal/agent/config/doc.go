// Package config turns a pod into what the runtime is asked for: environment,
// mounts, host names, DNS, security context, limits.
//
// It decides and reads objects, and writes no file: the paths that it names are
// prepared by the agent and by agent/volume. A wrong pod gives an *Error whose
// reason is the container's waiting reason.
//
// To debug: what it made is `crictl inspect ID`.
package config
