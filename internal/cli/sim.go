package cli

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"trireme/internal/server"
	"trireme/internal/sim"
	"trireme/internal/wire"
)

func (a *app) simCommand() *cobra.Command {
	c := &cobra.Command{Use: "sim", Short: "Simulated parts, to measure and to plan with"}
	cfg := sim.Config{}
	token := ""
	nodes := &cobra.Command{
		Use:   "nodes --count N",
		Short: "Attach hollow nodes: real sessions, no containers",
		Long: `Attach hollow nodes to a cluster. Each joins with its own certificate and keeps a
session of its own; the pods it gets "start" after --start-delay and end when they
are deleted, or after what SIM_RUN_FOR in a container's environment says ("2s"). They stay until the command ends, and then count as lost.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Count < 1 {
				return usagef("--count: %d is not a number of nodes", cfg.Count)
			}
			if token == "" {
				token = localToken(server.WorkerTokenFile)
			}
			var err error
			if cfg.Token, err = wire.ParseToken(token); err != nil {
				return err
			}
			p := newProgress(a.err)
			defer p.Done()
			cfg.Progress = func(connected, running int) {
				p.say("%d/%d nodes connected, %d pods run", connected, cfg.Count, running)
			}
			err = sim.Run(cmd.Context(), cfg)
			if cmd.Context().Err() != nil {
				return nil // ended by the user, as it should be
			}
			return err
		},
	}
	f := nodes.Flags()
	f.IntVar(&cfg.Count, "count", 10, "how many")
	f.DurationVar(&cfg.StartDelay, "start-delay", 0*time.Second, "how long a pod takes to start")
	f.StringVar(&cfg.Manager, "manager", "127.0.0.1:6444", "where a manager takes sessions")
	f.StringVar(&token, "token", os.Getenv("TRIREME_TOKEN"), "join token (default: $TRIREME_TOKEN, or this machine's manager's)")
	f.StringVar(&cfg.Prefix, "prefix", "hollow-", "what the nodes' names start with")
	f.StringVar(&cfg.CPU, "cpus", "32", "CPUs of each node")
	f.StringVar(&cfg.Memory, "memory", "128Gi", "memory of each node")
	f.IntVar(&cfg.Pods, "pods", 110, "most pods a node takes")
	must(nodes.MarkFlagRequired("count"))
	c.AddCommand(nodes)
	return c
}
