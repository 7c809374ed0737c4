// Package images is the part of the Docker door that is about images: those that nodes have
// and what registries say of them.
//
//	asked                          by
//	lists                          the nodes' status, as the caller may see it, and this machine's agent
//	what an image is, save, push   the agent of a node that has it: manifests and layers by digest
//	pull, load, tag, rmi           this machine's agent
//	distribution, auth             the registry
//
// Agents are asked through the Kubernetes door as the caller, which takes a right to
// nodes/proxy. It is not for what the cluster gives to its nodes (package registry), nor for
// what a node does with images (agent/image).
//
// How to debug: `curl --unix-socket … http://d/v1.51/images/json` and `trireme image ls`.
package images
