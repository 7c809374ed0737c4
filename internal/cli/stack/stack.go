package stack

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"trireme/internal/compose"
	"trireme/internal/object/swarm"
)

// Progress tells how far something has come.
type Progress interface {
	Count(part, all int, text string)
	Done()
}

// Env is what the commands have of the program that they are of.
type Env struct {
	Out, Err io.Writer
	// Socket returns the address of this machine's Docker door.
	Socket   func() string
	Progress func() Progress
	// Table prints data as the user asked for; Flag adds the choice to a command.
	Table func(data any, columns []string, rows [][]string) error
	Flag  func(*cobra.Command)
}

// Command returns `stack` with its commands.
func Command(env Env) *cobra.Command {
	s := &stacks{env: env}
	c := &cobra.Command{
		Use: "stack", Short: "Stacks of services, from Compose files",
		Long: `A stack is the services, networks, volumes, secrets and configs of a Compose file.
The current Compose Specification is read; a field that a cluster cannot honour is an
error that names it. Docker's own clients see and change the same stacks.`,
	}
	c.PersistentFlags().StringVar(&s.host, "docker-host", "", "the manager's Docker API (default: $DOCKER_HOST, or this machine's socket)")
	c.AddCommand(s.deployCommand(), s.configCommand(), s.lsCommand(), s.psCommand(), s.servicesCommand(), s.rmCommand())
	return c
}

// stacks is one command line.
type stacks struct {
	env  Env
	host string
	api  *client.Client
	source
}

// source is which files a command reads.
type source struct {
	files, envFiles, profiles []string
	raw                       bool
}

func (s *stacks) sourceFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVarP(&s.files, "compose-file", "c", nil, "a Compose file, - is standard input; later ones go over earlier ones (default: compose.yaml here)")
	f.StringArrayVar(&s.envFiles, "env-file", nil, "variables that the file may use (default: .env beside it)")
	f.StringArrayVar(&s.profiles, "profile", nil, "a profile whose services are part of the stack")
}

func (s *stacks) load(ctx context.Context, name string) (compose.Source, *compose.Stack, error) {
	from := compose.Source{Name: name, Files: s.files, EnvFiles: s.envFiles, Profiles: s.profiles, Environment: os.Environ(), Raw: s.raw}
	p, err := compose.Load(ctx, from)
	if err != nil {
		return from, nil, err
	}
	st, err := compose.Convert(p)
	return from, st, err
}

// connect reaches the manager for a command.
func (s *stacks) connect(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) (err error) {
		host := s.host
		if host == "" {
			host = os.Getenv(client.EnvOverrideHost)
		}
		if host == "" {
			host = "unix://" + s.env.Socket()
		}
		if s.api, err = client.New(client.WithHost(host), client.WithTLSClientConfigFromEnv(), client.WithUserAgent("trireme")); err != nil {
			return fmt.Errorf("--docker-host %s: %w", host, err)
		}
		err = do(c.Context(), args)
		if client.IsErrConnectionFailed(err) {
			return fmt.Errorf("no manager answers on %s: is one running here (`trireme up`)? Name another's with --docker-host", host)
		}
		return err
	}
}

// of filters what is of a stack.
func of(name string) client.Filters {
	return make(client.Filters).Add("label", swarm.StackLabel+"="+name)
}

func (s *stacks) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "Print the files as they are read, as one", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := compose.Load(c.Context(), compose.Source{Name: "stack", Files: s.files, EnvFiles: s.envFiles, Profiles: s.profiles, Environment: os.Environ(), Raw: s.raw})
			if err != nil {
				return err
			}
			if _, err := compose.Convert(p); err != nil {
				return err
			}
			b, err := p.MarshalYAML()
			if err != nil {
				return err
			}
			_, err = s.env.Out.Write(b)
			return err
		},
	}
	s.sourceFlags(c)
	c.Flags().BoolVar(&s.raw, "skip-interpolation", false, "leave ${…} as it is written")
	return c
}

func (s *stacks) lsCommand() *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List the stacks", Args: cobra.NoArgs, RunE: s.connect(func(ctx context.Context, _ []string) error {
		all, err := s.api.ServiceList(ctx, client.ServiceListOptions{Filters: make(client.Filters).Add("label", swarm.StackLabel)})
		if err != nil {
			return err
		}
		count := map[string]int{}
		var names []string
		for i := range all.Items {
			name := all.Items[i].Spec.Labels[swarm.StackLabel]
			if count[name]++; count[name] == 1 {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		var rows [][]string
		for _, name := range names {
			rows = append(rows, []string{name, fmt.Sprint(count[name])})
		}
		return s.env.Table(count, []string{"NAME", "SERVICES"}, rows)
	})}
	s.env.Flag(c)
	return c
}

func (s *stacks) servicesCommand() *cobra.Command {
	c := &cobra.Command{Use: "services STACK", Short: "List a stack's services", Args: cobra.ExactArgs(1), RunE: s.connect(func(ctx context.Context, args []string) error {
		all, err := s.services(ctx, args[0])
		if err != nil {
			return err
		}
		var rows [][]string
		for i := range all {
			o := &all[i]
			rows = append(rows, []string{o.Spec.Name, modeOf(o), replicasOf(o), o.Spec.TaskTemplate.ContainerSpec.Image, portsOf(o), stateOf(o)})
		}
		return s.env.Table(all, []string{"NAME", "MODE", "REPLICAS", "IMAGE", "PORTS", "UPDATE"}, rows)
	})}
	s.env.Flag(c)
	return c
}

func (s *stacks) psCommand() *cobra.Command {
	c := &cobra.Command{Use: "ps STACK", Short: "List a stack's tasks", Args: cobra.ExactArgs(1), RunE: s.connect(func(ctx context.Context, args []string) error {
		services, err := s.services(ctx, args[0])
		if err != nil {
			return err
		}
		nodes, err := s.api.NodeList(ctx, client.NodeListOptions{})
		if err != nil {
			return err
		}
		hosts := map[string]string{}
		for i := range nodes.Items {
			hosts[nodes.Items[i].ID] = nodes.Items[i].Description.Hostname
		}
		tasks, err := s.api.TaskList(ctx, client.TaskListOptions{Filters: of(args[0])})
		if err != nil {
			return err
		}
		names := map[string]string{}
		for i := range services {
			names[services[i].ID] = services[i].Spec.Name
		}
		var rows [][]string
		for i := range tasks.Items {
			t := &tasks.Items[i]
			slot := fmt.Sprint(t.Slot)
			if t.Slot == 0 {
				slot = hosts[t.NodeID]
			}
			since := time.Since(t.Status.Timestamp).Truncate(time.Second)
			rows = append(rows, []string{names[t.ServiceID] + "." + slot, hosts[t.NodeID], string(t.DesiredState), fmt.Sprintf("%s %s ago", t.Status.State, since), t.Status.Err, t.ID})
		}
		slices.SortStableFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
		return s.env.Table(tasks.Items, []string{"NAME", "NODE", "DESIRED", "STATE", "ERROR", "ID*"}, rows)
	})}
	s.env.Flag(c)
	return c
}
