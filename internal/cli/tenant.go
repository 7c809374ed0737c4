package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/cli/tenant"
)

// tenantCommand gives the commands of tenants what they need of this program.
func (a *app) tenantCommand() *cobra.Command {
	return tenant.Command(tenant.Env{
		Out: a.out,
		Connect: func() (kubernetes.Interface, dynamic.Interface, error) {
			cs, _, err := a.client()
			if err != nil {
				return nil, nil, err
			}
			dyn, err := a.dynamicClient()
			return cs, dyn, err
		},
		Table: func(data any, columns []string, rows [][]string) error {
			return a.print(data, table{columns: columns, rows: rows})
		},
		Flag: a.outputFlag,
	})
}
