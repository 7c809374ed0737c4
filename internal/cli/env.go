package cli

import (
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/cli/program"
)

// env gives families of commands what they need of this program.
func (a *app) env() program.Env {
	return program.Env{Out: a.out, Connect: a.connect, Table: a.rows, Flag: a.outputFlag}
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
