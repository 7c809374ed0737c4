package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"trireme/internal/cli/doctor"
	"trireme/internal/server"
)

func (a *app) doctorCommand() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this machine can be a manager and a node, and say what to do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.load(cmd.Flags()); err != nil {
				return err
			}
			return a.doctor(&o.cfg)
		},
	}
	o.flags(c.Flags())
	o.managerFlags(c.Flags())
	a.outputFlag(c)
	return c
}

func (a *app) doctor(cfg *server.Config) error {
	all := doctor.Check(cfg)
	t := table{columns: []string{"CHECK", "STATE", "FOUND", "WHAT TO DO"}}
	failed := 0
	for _, f := range all {
		t.add(f.Check, f.State, f.Found, f.Remedy)
		if f.State == doctor.Failed {
			failed++
		}
	}
	if err := a.print(all, t); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d checks failed", failed)
	}
	return nil
}
