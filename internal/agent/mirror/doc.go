// Package mirror is the registry that a node's container runtime asks first,
// whatever registry a reference names: it answers with what the cluster holds
// (package registry), and with 404 for all else, so that the runtime goes on to
// the registry itself (OCI distribution specification 1.1, "Pull"; containerd,
// docs/hosts.md).
//
// Blobs come from other agents that have the image, and from the manager where
// none has or one fails. An agent that sends something wrong is left alone for a
// while.
//
// To debug: `_default/hosts.toml` in Config.Dir has the address and what must be
// shown as Authorization.
package mirror
