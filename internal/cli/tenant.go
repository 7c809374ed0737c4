package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/cli/managers"
	"trireme/internal/cli/tenant"
)

// tenantCommand gives the commands of tenants what they need of this program.
func (a *app) tenantCommand() *cobra.Command {
	return tenant.Command(tenant.Env{Out: a.out, Connect: a.connect, Table: a.rows, Flag: a.outputFlag})
}

// managerCommand gives the commands of managers what they need of this program.
func (a *app) managerCommand() *cobra.Command {
	return managers.Command(managers.Env{Out: a.out, Connect: a.connect, Table: a.rows, Flag: a.outputFlag})
}

func (a *app) connect() (kubernetes.Interface, dynamic.Interface, error) {
	cs, _, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	dyn, err := a.dynamicClient()
	return cs, dyn, err
}

// rows prints data as the user asked for.
func (a *app) rows(data any, columns []string, rows [][]string) error {
	return a.print(data, table{columns: columns, rows: rows})
}
