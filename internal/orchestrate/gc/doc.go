// Package gc deletes what nobody owns any more (Kubernetes, "Garbage
// Collection"): objects whose owners are all gone, under the three propagation
// policies.
//
// The door that takes a DELETE only writes what the policy means on the owner:
//
//	background   the owner's row goes; this loop finds dependents without an owner
//	foreground   the owner is marked and has the finalizer foregroundDeletion; this
//	             loop deletes its dependents, and drops the finalizer when none is
//	             left that blocks (ownerReferences[].blockOwnerDeletion)
//	orphan       the owner is marked and has the finalizer orphan; this loop takes
//	             the owner out of its dependents, then drops the finalizer
//
// An owner is found by UID: one that was deleted and made again is another.
// Owners of kinds without a table, and owners in another namespace, are left
// alone: what cannot be looked up is not known to be gone.
//
// It is not for pods that wait for their node (podgc) or namespaces.
//
// Dependents are found through the index of owner UIDs. The loop keeps where the
// owners of dependents are, so a dependent of a known owner costs a lookup and no
// decoding, and a list of owners whose dependents are being worked off. Both are
// rebuilt at a full pass.
//
// How to debug: testdata/*.txtar, one for each policy.
package gc
