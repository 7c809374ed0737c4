package cli

import (
	"os"

	"github.com/spf13/cobra"

	"trireme/internal/cli/stack"
	"trireme/internal/server"
)

// stackCommand gives the commands of stacks what they need of this program.
func (a *app) stackCommand() *cobra.Command {
	return stack.Command(stack.Env{
		Out: a.out, Err: a.err,
		Socket: func() string {
			cfg := server.Default()
			if root := os.Getenv("TRIREME_ROOT"); root != "" {
				cfg.Root = root
			}
			return cfg.DockerSocketPath()
		},
		Progress: func() stack.Progress { return newProgress(a.err) },
		Table: func(data any, columns []string, rows [][]string) error {
			return a.print(data, table{columns: columns, rows: rows})
		},
		Flag: a.outputFlag,
	})
}
