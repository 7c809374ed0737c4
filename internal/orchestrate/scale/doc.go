// Package scale reads and writes how many pods an object asks for: what its subresource
// scale shows (Kubernetes, "CustomResourceDefinition: Scale subresource"), for the loops
// that size workloads or count on their size.
//
// A custom resource is read as it is stored: the definition's paths of the version it is
// stored in count, since no webhook can convert it inside a transaction. A size that the
// definition's schema does not allow is refused; what else checks such a write through a
// door (CEL rules, webhooks, policies) does not see this one.
//
// How to debug: `kubectl get --raw …/NAME/scale` shows the same figures.
package scale
