package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/cli/plan"
)

// planEnv gives the commands that plan what they need of this program.
func (a *app) planEnv() plan.Env {
	return plan.Env{
		In: a.in, Out: a.out,
		Connect: func() (dynamic.Interface, string, error) {
			_, ns, err := a.client()
			if err != nil {
				return nil, "", err
			}
			dyn, err := a.dynamicClient()
			return dyn, ns, err
		},
		Client: func() (kubernetes.Interface, error) {
			cs, _, err := a.client()
			return cs, err
		},
		Progress: func() (func(string, ...any), func()) {
			p := newProgress(a.err)
			return p.say, p.Done
		},
		Table: func(data any, columns []string, rows [][]string) (bool, error) {
			err := a.print(data, table{columns: columns, rows: rows})
			return a.output == "" || a.output == "table" || a.output == "wide", err
		},
		Flag: a.outputFlag,
	}
}

func (a *app) planCommand() *cobra.Command { return plan.Command(a.planEnv()) }

func (a *app) drainCommand() *cobra.Command { return plan.DrainCommand(a.planEnv()) }
