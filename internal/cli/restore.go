package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"trireme/internal/etcdlog"
	"trireme/internal/server"
)

func (a *app) restoreCommand() *cobra.Command {
	var o upOptions
	var unchecked bool
	c := &cobra.Command{
		Use:   "restore SNAPSHOT",
		Short: "Give this machine the state of an etcd snapshot, of this cluster or of a Kubernetes control plane",
		Long: `Makes the state of a new cluster from an etcd snapshot, before its first
"trireme up". The snapshot may come from any Kubernetes control plane that keeps
its objects unencrypted: see docs/migrating.md. An error leaves the machine as it was.`,
		Example: `  etcdctl snapshot save k8s.db                 on the old control plane
  trireme restore k8s.db                       on a machine that runs no cluster yet
  trireme up --detach --service-cidr 10.96.0.0/12`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.load(cmd.Flags()); err != nil {
				return err
			}
			return a.restore(cmd.Context(), &o, etcdlog.Snapshot{Path: args[0], Unchecked: unchecked})
		},
	}
	o.flags(c.Flags())
	c.Flags().BoolVar(&unchecked, "skip-hash-check", false, "take a database copied from a member's folder, which has no checksum")
	a.outputFlag(c)
	return c
}

func (a *app) restore(ctx context.Context, o *upOptions, s etcdlog.Snapshot) error {
	r, err := server.Restore(ctx, o.cfg, s)
	if err != nil {
		return err
	}
	rows := table{columns: []string{"KIND", "OBJECTS"}}
	for _, id := range slices.Sorted(maps.Keys(r.Rows)) {
		rows.add(string(id), strconv.Itoa(r.Rows[id]))
	}
	if err := a.print(r, rows); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "restored into %s; next: trireme up --root %s\n", o.cfg.Root, o.cfg.Root)
	return nil
}
