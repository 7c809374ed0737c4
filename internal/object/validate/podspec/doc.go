// Package podspec checks how the containers of a pod run: when they start again, what
// is called as they start and end, as whom and in which namespaces they run, and what
// their environment and names are taken from (API reference, PodSpec and Container).
//
// It is not for volumes, resources, probes and placement, which package validate checks.
//
// How to debug: each fault names its field.
package podspec
