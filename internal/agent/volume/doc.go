// Package volume prepares what pods mount: directories on the node whose content
// comes from objects (configMap, secret, downwardAPI, projected with them, trust
// bundles, tokens and certificates), from memory or disk (emptyDir), or from the node
// itself (hostPath).
//
// Everything lies below ROOT/pods/UID/volumes/KIND/NAME, the kubelet's layout.
// Content from objects is written into a directory of its own, and a link named
// ..data is moved to it in one rename: a reader sees the old content or the new,
// never a mix. A sub path is opened with openat2 inside its volume and mounted
// by its file descriptor, so no symbolic link that a container plants leads out.
//
// Setup, Refresh and Teardown of one pod must not run at the same time; different
// pods are independent.
//
// To debug: ls -la ROOT/pods/*/volumes/*/* ; findmnt | grep ROOT/pods.
package volume
