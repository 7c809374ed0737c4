// Package stream is the agent's HTTPS: logs, exec, attach, port forwarding,
// statistics and images, under the paths and with the parameters of a kubelet.
//
// Only system:masters may call: managers speak for the users, after they have
// asked whether the user may.
//
// Logs are read from the files that the runtime writes (the CRI log format:
// time, stream, tag, text); followed ones are awaited through one inotify
// instance for all who follow. Exec,
// attach and port forwarding are handed through to the address that the runtime
// names, whatever protocol the client upgrades to.
//
// To debug: curl --cert … --key … https://NODE:10250/pods
package stream
