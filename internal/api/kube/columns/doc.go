// Package columns is what kubectl shows of the kinds about storage, networking
// and devices: the columns of each kind and the cells of an object, in the words
// of Kubernetes' own tables.
//
// It is not for making the tables themselves (api/kube) nor for pods, nodes and
// workloads, whose cells are worked out there.
package columns
