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

// wantedFile is a secret or config that the file has: how it is made, and how one that is
// there is told its labels again.
type wantedFile struct {
	name   string
	create func() (id string, err error)
	update func() error
}

// ensureFiles makes what is not there, and notes the ids of all.
func (d *deploy) ensureFiles(word string, ids map[string]string, all []wantedFile) error {
	for _, w := range all {
		if _, there := ids[w.name]; there {
			if err := w.update(); err != nil {
				return fmt.Errorf("%s %s is there with another content, which is not changed under a name of the file's own: leave its name away, or give another: %w", word, w.name, err)
			}
			continue
		}
		id, err := w.create()
		if err != nil {
			return fmt.Errorf("making %s %s: %w", word, w.name, err)
		}
		ids[w.name] = id
		d.say("%s %s created", word, w.name)
	}
	return nil
}

// ensureSecrets makes the secrets that are not there, and writes the ids of all into
// the services.
func (d *deploy) ensureSecrets(ctx context.Context) error {
	have, err := d.api.SecretList(ctx, client.SecretListOptions{})
	if err != nil {
		return err
	}
	ids, versions := map[string]string{}, map[string]swarm.Version{}
	for _, o := range have.Items {
		ids[o.Spec.Name], versions[o.Spec.Name] = o.ID, o.Version
	}
	var all []wantedFile
	for _, spec := range d.stack.Secrets {
		all = append(all, wantedFile{spec.Name, func() (string, error) {
			made, err := d.api.SecretCreate(ctx, client.SecretCreateOptions{Spec: spec})
			return made.ID, err
		}, func() error {
			_, err := d.api.SecretUpdate(ctx, ids[spec.Name], client.SecretUpdateOptions{Version: versions[spec.Name], Spec: spec})
			return err
		}})
	}
	if err := d.ensureFiles("secret", ids, all); err != nil {
		return err
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
	have, err := d.api.ConfigList(ctx, client.ConfigListOptions{})
	if err != nil {
		return err
	}
	ids, versions := map[string]string{}, map[string]swarm.Version{}
	for _, o := range have.Items {
		ids[o.Spec.Name], versions[o.Spec.Name] = o.ID, o.Version
	}
	var all []wantedFile
	for _, spec := range d.stack.Configs {
		all = append(all, wantedFile{spec.Name, func() (string, error) {
			made, err := d.api.ConfigCreate(ctx, client.ConfigCreateOptions{Spec: spec})
			return made.ID, err
		}, func() error {
			_, err := d.api.ConfigUpdate(ctx, ids[spec.Name], client.ConfigUpdateOptions{Version: versions[spec.Name], Spec: spec})
			return err
		}})
	}
	if err := d.ensureFiles("config", ids, all); err != nil {
		return err
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
