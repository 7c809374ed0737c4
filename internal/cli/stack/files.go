package stack

import (
	"context"
	"fmt"
	"slices"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// file is a secret or a config that is there.
type file struct {
	word, id, name string
	remove         func(context.Context) error
}

// kept returns a stack's secrets and configs.
func (s *stacks) kept(ctx context.Context, name string) (out []file, err error) {
	secrets, err := s.api.SecretList(ctx, client.SecretListOptions{Filters: of(name)})
	if err != nil {
		return nil, err
	}
	for _, o := range secrets.Items {
		out = append(out, file{"secret", o.ID, o.Spec.Name, func(ctx context.Context) error {
			_, err := s.api.SecretRemove(ctx, o.ID, client.SecretRemoveOptions{})
			return err
		}})
	}
	configs, err := s.api.ConfigList(ctx, client.ConfigListOptions{Filters: of(name)})
	if err != nil {
		return nil, err
	}
	for _, o := range configs.Items {
		out = append(out, file{"config", o.ID, o.Spec.Name, func(ctx context.Context) error {
			_, err := s.api.ConfigRemove(ctx, o.ID, client.ConfigRemoveOptions{})
			return err
		}})
	}
	return out, nil
}

// ensureSecrets makes the secrets that are not there, and writes the ids of all into
// the services.
func (d *deploy) ensureSecrets(ctx context.Context) error {
	all, err := d.api.SecretList(ctx, client.SecretListOptions{})
	if err != nil {
		return err
	}
	have := map[string]swarm.Secret{}
	ids := map[string]string{}
	for _, o := range all.Items {
		have[o.Spec.Name], ids[o.Spec.Name] = o, o.ID
	}
	for _, spec := range d.stack.Secrets {
		if was, ok := have[spec.Name]; ok {
			if _, err := d.api.SecretUpdate(ctx, was.ID, client.SecretUpdateOptions{Version: was.Version, Spec: spec}); err != nil {
				return fmt.Errorf("secret %s is there with another content, which is not changed under a name of the file's own: leave its name away, or give another: %w", spec.Name, err)
			}
			continue
		}
		made, err := d.api.SecretCreate(ctx, client.SecretCreateOptions{Spec: spec})
		if err != nil {
			return fmt.Errorf("making secret %s: %w", spec.Name, err)
		}
		ids[spec.Name] = made.ID
		d.say("secret %s created", spec.Name)
	}
	return d.refer(ids, "secret", func(c *swarm.ContainerSpec) (out []reference) {
		for _, r := range c.Secrets {
			out = append(out, reference{r.SecretName, &r.SecretID})
		}
		return out
	})
}

// ensureConfigs does the same for configs.
func (d *deploy) ensureConfigs(ctx context.Context) error {
	all, err := d.api.ConfigList(ctx, client.ConfigListOptions{})
	if err != nil {
		return err
	}
	have := map[string]swarm.Config{}
	ids := map[string]string{}
	for _, o := range all.Items {
		have[o.Spec.Name], ids[o.Spec.Name] = o, o.ID
	}
	for _, spec := range d.stack.Configs {
		if was, ok := have[spec.Name]; ok {
			if _, err := d.api.ConfigUpdate(ctx, was.ID, client.ConfigUpdateOptions{Version: was.Version, Spec: spec}); err != nil {
				return fmt.Errorf("config %s is there with another content, which is not changed under a name of the file's own: leave its name away, or give another: %w", spec.Name, err)
			}
			continue
		}
		made, err := d.api.ConfigCreate(ctx, client.ConfigCreateOptions{Spec: spec})
		if err != nil {
			return fmt.Errorf("making config %s: %w", spec.Name, err)
		}
		ids[spec.Name] = made.ID
		d.say("config %s created", spec.Name)
	}
	return d.refer(ids, "config", func(c *swarm.ContainerSpec) (out []reference) {
		for _, r := range c.Configs {
			out = append(out, reference{r.ConfigName, &r.ConfigID})
		}
		return out
	})
}

// reference is a place for the id of what has the name.
type reference struct {
	name string
	id   *string
}

// refer writes ids beside the names in all services.
func (d *deploy) refer(ids map[string]string, word string, of func(*swarm.ContainerSpec) []reference) error {
	for i := range d.stack.Services {
		s := &d.stack.Services[i]
		for _, r := range of(s.TaskTemplate.ContainerSpec) {
			id, ok := ids[r.name]
			if !ok {
				return fmt.Errorf("service %s: %s %s is external and not there: make it with `docker %s create %s FILE`", s.Name, word, r.name, word, r.name)
			}
			*r.id = id
		}
	}
	return nil
}

// pruneVersions removes the stack's secrets and configs that the file has no more and
// no service uses, nor would after a rollback.
func (d *deploy) pruneVersions(ctx context.Context) error {
	files, err := d.kept(ctx, d.stack.Name)
	if err != nil || len(files) == 0 {
		return err
	}
	all, err := d.api.ServiceList(ctx, client.ServiceListOptions{})
	if err != nil {
		return err
	}
	used := map[string]bool{}
	use := func(s *swarm.ServiceSpec) {
		if s == nil || s.TaskTemplate.ContainerSpec == nil {
			return
		}
		for _, r := range s.TaskTemplate.ContainerSpec.Secrets {
			used[r.SecretID] = true
		}
		for _, r := range s.TaskTemplate.ContainerSpec.Configs {
			used[r.ConfigID] = true
		}
	}
	for i := range all.Items {
		use(&all.Items[i].Spec)
		use(all.Items[i].PreviousSpec)
	}
	for _, f := range files {
		if used[f.id] || d.wanted(f.name) {
			continue
		}
		if err := f.remove(ctx); err != nil {
			return fmt.Errorf("removing %s %s: %w", f.word, f.name, err)
		}
		d.say("%s %s removed: nothing uses it any more", f.word, f.name)
	}
	return nil
}

// wanted reports whether the file has a secret or config of the name.
func (d *deploy) wanted(name string) bool {
	return slices.ContainsFunc(d.stack.Secrets, func(s swarm.SecretSpec) bool { return s.Name == name }) ||
		slices.ContainsFunc(d.stack.Configs, func(s swarm.ConfigSpec) bool { return s.Name == name })
}
