// Package image brings images to the node and takes unused ones away.
//
// Ensure answers what image a container runs, pulling it as its policy says: one
// pull a reference at a time however many wait for it, and not again before a
// back-off after it failed. What was found is remembered for a few seconds, so
// that the pods of one template cost one question to the runtime.
//
// Collection starts when the images' file system is 85 % full and goes on until
// it is 80 % full, the least recently used first; what is in use or pinned stays.
//
// To debug: GET /images on the agent's HTTPS; crictl images.
package image
