// Package managers is the commands `trireme manager`: the machines that hold the cluster's state.
// It talks to the API only.
package managers

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"trireme/internal/cli/program"
	"trireme/internal/object/manager"
)

type commands struct {
	env program.Env
	dyn dynamic.Interface
}

// Command returns `manager` with its commands.
func Command(env program.Env) *cobra.Command {
	m := &commands{env: env}
	c := &cobra.Command{
		Use: "manager", Short: "Managers: the machines that hold the cluster's state",
		Long: `A cluster goes on as long as more than half of its managers answer: one of three may fail, two of five.
Another joins with the token for managers, which "trireme status" prints on one.`,
	}
	ls := &cobra.Command{Use: "ls", Short: "List the managers: who leads, who has a vote", Args: cobra.NoArgs, RunE: m.run(m.ls)}
	env.Flag(ls)
	var force bool
	rm := &cobra.Command{
		Use: "rm MANAGER", Short: "Take a manager out; what runs on its machine stays", Args: cobra.ExactArgs(1),
		RunE: m.run(func(ctx context.Context, args []string) error { return m.rm(ctx, args[0], force) }),
	}
	rm.Flags().BoolVar(&force, "force", false, "even where the cluster then ends with the next failure")
	c.AddCommand(ls, rm)
	return c
}

func (m *commands) run(f func(context.Context, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		if _, m.dyn, err = m.env.Connect(); err != nil {
			return err
		}
		return f(cmd.Context(), args)
	}
}

func (m *commands) all(ctx context.Context) ([]manager.Manager, error) {
	list, err := m.dyn.Resource(manager.Managers).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := make([]manager.Manager, len(list.Items))
	for i := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &out[i]); err != nil {
			return nil, fmt.Errorf("reading manager %s: %w", list.Items[i].GetName(), err)
		}
	}
	return out, nil
}

func (m *commands) ls(ctx context.Context, _ []string) error {
	all, err := m.all(ctx)
	if err != nil {
		return err
	}
	var rows [][]string
	for i := range all {
		state := all[i].Status.State
		if all[i].Status.Unreachable {
			state += ", unreachable"
		}
		if all[i].DeletionTimestamp != nil {
			state += ", leaving"
		}
		rows = append(rows, []string{all[i].Name, state, all[i].Status.Address, all[i].Status.Message})
	}
	return m.env.Table(all, []string{"MANAGER", "STATE", "ADDRESS", "MESSAGE"}, rows)
}

// Times of rm.
const (
	leaveMax   = 30 * time.Second
	leaveEvery = 200 * time.Millisecond
)

// rm takes a manager out and waits until it is.
func (m *commands) rm(ctx context.Context, name string, force bool) error {
	all, err := m.all(ctx)
	if err != nil {
		return err
	}
	if why := risk(all, name); why != "" && !force {
		return fmt.Errorf("%s: add another manager first, or say --force", why)
	}
	if err := m.dyn.Resource(manager.Managers).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leaveMax)
	defer cancel()
	tick := time.NewTicker(leaveEvery)
	defer tick.Stop()
	for {
		got, err := m.dyn.Resource(manager.Managers).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err := fmt.Fprintf(m.env.Out, "%s is no manager any more\n", name)
			return err
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		one := &manager.Manager{}
		if err == nil && runtime.DefaultUnstructuredConverter.FromUnstructured(got.Object, one) == nil && one.Status.Message != "" {
			return fmt.Errorf("%s is a manager still: %s", name, one.Status.Message)
		}
		return fmt.Errorf("%s is a manager still: %w", name, ctx.Err())
	}
}

// risk says why to take the manager out may cost the cluster; empty: it does not.
func risk(all []manager.Manager, name string) string {
	var votes, answer, votesLeft, answerLeft int
	for i := range all {
		if all[i].Status.State == manager.Learner {
			continue
		}
		votes++
		left := all[i].Name != name
		if left {
			votesLeft++
		}
		if !all[i].Status.Unreachable {
			answer++
			if left {
				answerLeft++
			}
		}
	}
	before, after := answer-(votes/2+1), answerLeft-(votesLeft/2+1) // how many more may fail
	switch {
	case votesLeft == 0:
		return name + " is the only manager: to end the cluster run `trireme down` on that machine"
	case after < 1 && after < before:
		return fmt.Sprintf("of %d managers %d would be left, and the cluster stops when one more fails", votes, votesLeft)
	}
	return ""
}
