package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"trireme/internal/compose"
)

// deploy is one deploy of a stack.
type deploy struct {
	*stacks
	stack   *compose.Stack
	resolve string // always, changed or never: when an image's digest is looked up
	prune   bool

	networks map[string]string // names by id
	services map[string]swarm.Service
	written  []string // services that were made or changed, by id
}

func (s *stacks) deployCommand() *cobra.Command {
	d := &deploy{stacks: s}
	detach, timeout := false, time.Duration(0)
	c := &cobra.Command{
		Use: "deploy [-c FILE] STACK", Aliases: []string{"up"}, Short: "Make a stack what its Compose file says", Args: cobra.ExactArgs(1),
		Example: `  trireme stack deploy -c compose.yaml shop
  trireme stack deploy -c compose.yaml -c production.yaml --prune shop`,
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains([]string{"always", "changed", "never"}, d.resolve) {
				return fmt.Errorf("--resolve-image: %q: it is always, changed or never", d.resolve)
			}
			_, stack, err := s.load(c.Context(), args[0])
			if err != nil {
				return err
			}
			d.stack = stack
			return s.connect(func(ctx context.Context, _ []string) error {
				if err := d.run(ctx); err != nil || detach {
					return err
				}
				return d.wait(ctx, timeout)
			})(c, args)
		},
	}
	s.sourceFlags(c)
	f := c.Flags()
	f.StringVar(&d.resolve, "resolve-image", "changed", "when the registry is asked for an image's digest: always, changed (the file's image is another) or never")
	f.BoolVar(&d.prune, "prune", false, "remove the stack's services that the file has no more")
	f.BoolVarP(&detach, "detach", "d", false, "do not wait until the services run")
	f.DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	return c
}

func (d *deploy) run(ctx context.Context) error {
	for _, note := range d.stack.Notes {
		fmt.Fprintln(d.env.Err, "note:", note)
	}
	for _, part := range []func(context.Context) error{d.ensureNetworks, d.ensureSecrets, d.ensureConfigs, d.ensureServices} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	if d.prune {
		if err := d.pruneServices(ctx); err != nil {
			return err
		}
	}
	return d.pruneVersions(ctx)
}

func (d *deploy) say(format string, args ...any) { fmt.Fprintf(d.env.Out, format+"\n", args...) }

func (d *deploy) ensureNetworks(ctx context.Context) error {
	all, err := d.api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return err
	}
	d.networks = map[string]string{}
	have := map[string]bool{}
	for _, n := range all.Items {
		d.networks[n.ID], have[n.Name] = n.Name, true
	}
	for _, name := range d.stack.External {
		if !have[name] {
			return fmt.Errorf("networks.%s: it is external and not there: make it with `docker network create --driver overlay %s`", name, name)
		}
	}
	for _, n := range d.stack.Networks {
		if have[n.Name] {
			continue
		}
		made, err := d.api.NetworkCreate(ctx, n.Name, options(n))
		if err != nil {
			return fmt.Errorf("making network %s: %w", n.Name, err)
		}
		d.networks[made.ID] = n.Name
		d.say("network %s created", n.Name)
	}
	return nil
}

func options(n network.CreateRequest) client.NetworkCreateOptions {
	return client.NetworkCreateOptions{Driver: n.Driver, EnableIPv4: n.EnableIPv4, EnableIPv6: n.EnableIPv6, IPAM: n.IPAM,
		Internal: n.Internal, Attachable: n.Attachable, Options: n.Options, Labels: n.Labels}
}

// ensureServices makes services and changes those that are not as the file says.
func (d *deploy) ensureServices(ctx context.Context) error {
	all, err := d.api.ServiceList(ctx, client.ServiceListOptions{Filters: of(d.stack.Name)})
	if err != nil {
		return err
	}
	d.services = map[string]swarm.Service{}
	for _, s := range all.Items {
		d.services[s.Spec.Name] = s
	}
	for _, spec := range d.stack.Services {
		was, ok := d.services[spec.Name]
		if !ok {
			made, err := d.api.ServiceCreate(ctx, client.ServiceCreateOptions{Spec: spec, QueryRegistry: d.resolve != "never"})
			if err != nil {
				return fmt.Errorf("making service %s: %w", spec.Name, err)
			}
			d.warn(spec.Name, made.Warnings)
			d.written = append(d.written, made.ID)
			d.say("service %s created", spec.Name)
			continue
		}
		if err := d.updateService(ctx, was, spec); err != nil {
			return fmt.Errorf("changing service %s: %w", spec.Name, err)
		}
	}
	return nil
}

func (d *deploy) warn(name string, warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(d.env.Err, "warning: service %s: %s\n", name, w)
	}
}

func (d *deploy) updateService(ctx context.Context, was swarm.Service, spec swarm.ServiceSpec) error {
	query := d.resolve == "always"
	if same := spec.Labels[imageLabel] == was.Spec.Labels[imageLabel]; same && !query {
		spec.TaskTemplate.ContainerSpec.Image, spec.TaskTemplate.Placement = was.Spec.TaskTemplate.ContainerSpec.Image, platforms(spec.TaskTemplate.Placement, was.Spec.TaskTemplate.Placement)
	} else if d.resolve == "changed" {
		query = true
	}
	spec.TaskTemplate.ForceUpdate = was.Spec.TaskTemplate.ForceUpdate
	same, err := d.same(was.Spec, spec)
	if err != nil {
		return err
	}
	if same && !query {
		d.say("service %s is as the file says", spec.Name)
		return nil
	}
	got, err := d.api.ServiceUpdate(ctx, was.ID, client.ServiceUpdateOptions{Version: was.Version, Spec: spec, QueryRegistry: query})
	if err != nil {
		return err
	}
	d.warn(spec.Name, got.Warnings)
	d.written = append(d.written, was.ID)
	d.say("service %s changed", spec.Name)
	return nil
}

// imageLabel has the image as a file says it.
const imageLabel = "com.docker.stack.image"

// platforms keeps what the registry said of an image's platforms.
func platforms(next, was *swarm.Placement) *swarm.Placement {
	if was == nil || len(was.Platforms) == 0 {
		return next
	}
	out := swarm.Placement{}
	if next != nil {
		out = *next
	}
	out.Platforms = was.Platforms
	return &out
}

// same reports whether a service is as the file says. The manager has ids where the
// file has the names of networks.
func (d *deploy) same(was, next swarm.ServiceSpec) (bool, error) {
	trees := [2]any{}
	for i, spec := range []swarm.ServiceSpec{was, next} {
		spec.TaskTemplate.Networks = slices.Clone(spec.TaskTemplate.Networks)
		for j := range spec.TaskTemplate.Networks {
			if name, ok := d.networks[spec.TaskTemplate.Networks[j].Target]; ok {
				spec.TaskTemplate.Networks[j].Target = name
			}
		}
		b, err := json.Marshal(spec)
		if err != nil {
			return false, err
		}
		if err := json.Unmarshal(b, &trees[i]); err != nil {
			return false, err
		}
	}
	return reflect.DeepEqual(trees[0], trees[1]), nil
}

// pruneServices removes the services that the file has no more.
func (d *deploy) pruneServices(ctx context.Context) error {
	for name, s := range d.services {
		if slices.ContainsFunc(d.stack.Services, func(spec swarm.ServiceSpec) bool { return spec.Name == name }) {
			continue
		}
		if _, err := d.api.ServiceRemove(ctx, s.ID, client.ServiceRemoveOptions{}); err != nil {
			return fmt.Errorf("removing service %s: %w", name, err)
		}
		d.say("service %s removed", name)
	}
	return nil
}

func (s *stacks) rmCommand() *cobra.Command {
	c := &cobra.Command{Use: "rm STACK...", Aliases: []string{"down", "remove"}, Short: "Remove stacks: services, secrets, configs, networks", Args: cobra.MinimumNArgs(1),
		RunE: s.connect(func(ctx context.Context, args []string) error {
			var errs []error
			for _, name := range args {
				errs = append(errs, s.remove(ctx, name))
			}
			return errors.Join(errs...)
		})}
	return c
}

// remove takes all of a stack away; volumes stay, for they have its data.
func (s *stacks) remove(ctx context.Context, name string) error {
	services, err := s.services(ctx, name)
	if err != nil && !strings.HasPrefix(err.Error(), "there is no stack") {
		return err
	}
	d := &deploy{stacks: s, stack: &compose.Stack{Name: name}, services: map[string]swarm.Service{}}
	for _, o := range services {
		d.services[o.Spec.Name] = o
	}
	if err := d.pruneServices(ctx); err != nil {
		return err
	}
	files, err := s.kept(ctx, name)
	if err != nil {
		return err
	}
	nets, err := s.api.NetworkList(ctx, client.NetworkListOptions{Filters: of(name)})
	if err != nil {
		return err
	}
	if len(services)+len(files)+len(nets.Items) == 0 {
		return fmt.Errorf("there is no stack %s: `trireme stack ls` lists them", name)
	}
	for _, f := range files {
		if err := f.remove(ctx); err != nil {
			return fmt.Errorf("removing %s %s: %w", f.word, f.name, err)
		}
		d.say("%s %s removed", f.word, f.name)
	}
	for _, n := range nets.Items {
		if _, err := s.api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); err != nil {
			return fmt.Errorf("removing network %s: %w", n.Name, err)
		}
		d.say("network %s removed", n.Name)
	}
	return nil
}
