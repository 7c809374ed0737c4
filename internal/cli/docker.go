package cli

import (
	"github.com/spf13/cobra"

	"trireme/internal/cli/dockerenv"
)

func (a *app) dockerCommand() *cobra.Command {
	o := dockerenv.Options{}
	env := &cobra.Command{
		Use:   "env",
		Short: "Write the certificates with which docker reaches the cluster, and print what docker wants to have set",
		Long: `Writes ca.pem, cert.pem and key.pem, as docker expects them, and prints the
variables that make docker use them:

  eval "$(trireme docker env)"                         # as whoever the kubeconfig is for
  eval "$(trireme docker env --user jane --group dev)" # a new certificate for another user

A context does as well:
  docker context create c --docker host=tcp://HOST:2376,ca=D/ca.pem,cert=D/cert.pem,key=D/key.pem`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.User == "" && len(o.Groups) > 0 {
				return usagef("--group needs --user")
			}
			config, _, err := a.clientConfig()
			if err != nil {
				return err
			}
			return dockerenv.Write(cmd.Context(), config, o, a.out)
		},
	}
	f := env.Flags()
	f.StringVar(&o.Dir, "dir", "", "where to write them (default: ~/.trireme/docker, with --user the user's folder in it)")
	f.StringVar(&o.User, "user", "", "ask the cluster for a certificate of this user, and approve it (default: the kubeconfig's own)")
	f.StringArrayVar(&o.Groups, "group", nil, "a group of that user; may be given again")
	f.StringVar(&o.Address, "address", "", "HOST:PORT of the Docker API (default: the host of the Kubernetes API, port 2376)")
	c := &cobra.Command{Use: "docker", Short: "How docker's own clients reach the cluster"}
	c.AddCommand(env)
	return c
}
