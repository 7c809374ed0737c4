// Package bundle holds what a node needs beside the trireme binary itself, inside
// it: containerd, its shim, runc, the CNI plugins and the images that every node
// has. Extract unpacks it once for each version.
//
// hack/bundle.sh makes the asset. A binary that was built without it compiles
// and runs as a manager or a client; Extract then says what to do.
package bundle
