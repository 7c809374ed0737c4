// Package profile says how the pods of one scheduler's name are placed: what of a node's room counts and in which way,
// what wishes weigh, and what pods get that say nothing themselves. Parse reads profiles in the words of Kubernetes'
// KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1).
//
// It places nothing (internal/schedule does), and is pure: a Profile does not change once it is made.
//
// How to debug: a refusal of Parse names the field.
package profile

import (
	"sort"

	corev1 "k8s.io/api/core/v1"
)

// Strategy says which of the nodes that a pod fits on is the better for the room that it has.
type Strategy uint8

const (
	// Least: the one that has more left.
	Least Strategy = iota
	// Most: the one that has less left, so that others stay empty.
	Most
	// Ratio: the one whose parts in use are worth more by the profile's shape.
	Ratio
)

// Profile is how pods are placed that name it as their scheduler.
type Profile struct {
	Name     string // spec.schedulerName
	Strategy Strategy
	// Resources are what of the room counts, in order of their names. Empty: cpu, memory and pods alike.
	Resources []Resource
	Shape     []Point // of Ratio, in order of what is used
	Weights   Weights
	// Owners: pods of one owner are spread over nodes, and those of a service that have no owner over nodes and zones.
	Owners bool
	// Spreads are what pods of services and owners get that have no constraint of their own; their selectors are empty.
	Spreads []corev1.TopologySpreadConstraint
	// Added is what nodes must have, or should, beside what the pod asks.
	Added *corev1.NodeAffinity
}

// Resource is one that counts, and how much.
type Resource struct {
	Name   corev1.ResourceName
	Weight float64
}

// Point says what a part in use is worth, both from 0 to 1.
type Point struct{ Used, Worth float64 }

// Weights are what the parts of a score count, as those of Kubernetes' plug-ins; 0: nothing.
type Weights struct {
	Room    int64 // NodeResourcesFit
	Nodes   int64 // NodeAffinity
	Taints  int64 // TaintToleration
	Spread  int64 // PodTopologySpread
	Company int64 // InterPodAffinity
}

// Default returns the profile of pods that name no scheduler.
func Default() Profile {
	return Profile{Name: corev1.DefaultSchedulerName, Weights: defaultWeights, Owners: true}
}

// defaultWeights are those of Kubernetes' plug-ins.
var defaultWeights = Weights{Room: 1, Nodes: 2, Taints: 3, Spread: 2, Company: 2}

// Worth returns what a part in use is worth, from 0 to 1.
func (p *Profile) Worth(used float64) float64 {
	switch p.Strategy {
	case Least:
		return 1 - used
	case Most:
		return used
	}
	i := sort.Search(len(p.Shape), func(i int) bool { return p.Shape[i].Used >= used })
	switch {
	case i == 0:
		return p.Shape[0].Worth
	case i == len(p.Shape):
		return p.Shape[i-1].Worth
	}
	a, b := p.Shape[i-1], p.Shape[i]
	return a.Worth + (b.Worth-a.Worth)*(used-a.Used)/(b.Used-a.Used)
}
