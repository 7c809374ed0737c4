// Package registry keeps the images that users give to the cluster, so that
// every node can pull them though no registry outside has them.
//
//	trireme image push web:1
//	   │ Image web-1-… {reference, digest, source: node a}
//	   ▼
//	Registry.Run ── copies from the agent of node a ──► DIR (an OCI image layout)
//	   ▼ status: Ready
//	node b pulls web:1 ──► its agent's mirror ──► Registry.Image, Registry.Content
//	                              └──► agents that have it already
//
// An Image is an object of our own kind (images.trireme.dev); Run is the one
// writer of its status. What no Image names any more is removed from the disk.
//
// It is not for what runs on a node (agent/image), nor for pushing from outside:
// an image comes from a node.
package registry
