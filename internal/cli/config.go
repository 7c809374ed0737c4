package cli

import (
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "The configuration of this machine's process"}
	var o upOptions
	p := &cobra.Command{
		Use:   "print",
		Short: "Print every setting with the value that up would use",
		Long:  "Print every setting with the value that up would use, as the YAML that up --config reads.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.load(cmd.Flags()); err != nil {
				return err
			}
			b, err := yaml.Marshal(o.cfg)
			if err != nil {
				return err
			}
			_, err = a.out.Write(b)
			return err
		},
	}
	o.flags(p.Flags())
	o.managerFlags(p.Flags())
	c.AddCommand(p)
	return c
}
