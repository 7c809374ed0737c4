// Command trireme-cni is the CNI plugin of a Trireme node: it asks the node's
// agent to wire a pod and prints the answer. See package plugin.
package main

import (
	"os"

	"trireme/internal/dataplane/plugin"
)

func main() { os.Exit(plugin.Main(os.Getenv, os.Stdin, os.Stdout)) }
