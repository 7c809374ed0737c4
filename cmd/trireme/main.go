// Command trireme is the whole of Trireme in one binary: manager, node, and the
// command line that talks to them.
package main

import (
	"os"
	_ "time/tzdata" // cron jobs name time zones; a host need not have them

	"trireme/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
