package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	ours "trireme/internal/object/swarm"
)

// Stack is what the Docker door is asked for. References are names: who sends it puts
// ids beside the names of secrets and configs.
type Stack struct {
	Name     string
	Networks []network.CreateRequest
	// External are networks that have to be there, by name.
	External []string
	Secrets  []swarm.SecretSpec
	Configs  []swarm.ConfigSpec
	Services []swarm.ServiceSpec // those that others depend on first, else in the order of names
	// Notes are what the user should know and is no error.
	Notes []string
}

// imageLabel has the image as the file says it (docker/cli, stack deploy).
const imageLabel = "com.docker.stack.image"

// Convert returns the project as a stack. The error has a line for each field that
// cannot be honoured, with its path in the file and the remedy.
func Convert(p *types.Project) (*Stack, error) {
	if err := check(p); err != nil {
		return nil, err
	}
	c := &converter{project: p, stack: &Stack{Name: p.Name, Notes: notes(p)}}
	c.files()
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		c.service(name, p.Services[name])
	}
	for _, name := range slices.Sorted(maps.Keys(p.Jobs)) {
		c.job(name, p.Jobs[name])
	}
	c.networks()
	c.order()
	return c.stack, errors.Join(c.errs...)
}

// order sorts the services, each behind those that it depends on: a changed one is to see
// them as they will be.
func (c *converter) order() {
	slices.SortFunc(c.stack.Services, func(a, b swarm.ServiceSpec) int { return strings.Compare(a.Name, b.Name) })
	var out []swarm.ServiceSpec
	placed := map[string]bool{}
	var place func(name string)
	place = func(name string) {
		i := slices.IndexFunc(c.stack.Services, func(s swarm.ServiceSpec) bool { return s.Name == name })
		if i < 0 || placed[name] {
			return
		}
		placed[name] = true
		depends, err := (&ours.Service{Spec: c.stack.Services[i]}).DependsOn()
		if err != nil {
			c.errs = append(c.errs, fmt.Errorf("service %s: %w", name, err))
		}
		for _, d := range depends {
			place(c.stack.Name + "_" + d.Service)
		}
		out = append(out, c.stack.Services[i])
	}
	for i := range c.stack.Services {
		place(c.stack.Services[i].Name)
	}
	c.stack.Services = out
}

// converter makes one stack and notes what it cannot make.
type converter struct {
	project *types.Project
	stack   *Stack
	errs    []error
	// secrets and configs have the names of the stack's, by those of the file.
	secrets, configs map[string]string
}

func (c *converter) refuse(path, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: "+format, append([]any{path}, args...)...))
}

// labels returns labels with that of the stack.
func (c *converter) labels(of types.Labels) map[string]string {
	out := map[string]string{ours.StackLabel: c.stack.Name}
	maps.Copy(out, of)
	return out
}

func (c *converter) networks() {
	for _, key := range slices.Sorted(maps.Keys(c.project.Networks)) {
		n := c.project.Networks[key]
		if !c.used(n.Name) {
			continue
		}
		if n.External {
			c.stack.External = append(c.stack.External, n.Name)
			continue
		}
		r := network.CreateRequest{Name: n.Name, Driver: n.Driver, Internal: n.Internal, Attachable: n.Attachable, EnableIPv4: n.EnableIPv4, EnableIPv6: n.EnableIPv6,
			Options: map[string]string(n.DriverOpts), Labels: c.labels(n.Labels)}
		if r.Driver == "" {
			r.Driver = "overlay"
		}
		if n.Ipam.Driver != "" || len(n.Ipam.Config) > 0 {
			r.IPAM = &network.IPAM{Driver: n.Ipam.Driver}
		}
		for i, pool := range n.Ipam.Config {
			conf, err := ipamConfig(pool)
			if err != nil {
				c.refuse(fmt.Sprintf("networks.%s.ipam.config[%d]", key, i), "%v", err)
				continue
			}
			r.IPAM.Config = append(r.IPAM.Config, conf)
		}
		c.stack.Networks = append(c.stack.Networks, r)
	}
}

// used reports whether a task is on the network.
func (c *converter) used(name string) bool {
	return slices.ContainsFunc(c.stack.Services, func(s swarm.ServiceSpec) bool {
		return slices.ContainsFunc(s.TaskTemplate.Networks, func(a swarm.NetworkAttachmentConfig) bool { return a.Target == name })
	})
}

func ipamConfig(p *types.IPAMPool) (conf network.IPAMConfig, err error) {
	for _, part := range []struct {
		field, text string
		to          *netip.Prefix
	}{{"subnet", p.Subnet, &conf.Subnet}, {"ip_range", p.IPRange, &conf.IPRange}} {
		if part.text == "" {
			continue
		}
		if *part.to, err = netip.ParsePrefix(part.text); err != nil {
			return conf, fmt.Errorf("%s: %q is no network: write it as 10.5.0.0/16", part.field, part.text)
		}
	}
	if p.Gateway != "" {
		if conf.Gateway, err = netip.ParseAddr(p.Gateway); err != nil {
			return conf, fmt.Errorf("gateway: %q is no address: write it as 10.5.0.1", p.Gateway)
		}
	}
	return conf, nil
}

// digestLength is how much of a content's digest is in the name of a version, in
// digits.
const digestLength = 10

// files are the secrets and configs. One that the file gives no name of its own is
// named by its content too: a changed content is another object, to which services go
// over in an update, and from which a rollback goes back.
func (c *converter) files() {
	c.secrets, c.configs = map[string]string{}, map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(c.project.Secrets)) {
		s := types.FileObjectConfig(c.project.Secrets[key])
		name, data := c.file("secrets."+key, key, s)
		c.secrets[key] = name
		if !s.External {
			c.stack.Secrets = append(c.stack.Secrets, swarm.SecretSpec{Annotations: swarm.Annotations{Name: name, Labels: c.labels(s.Labels)}, Data: data, Templating: templating(s)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.project.Configs)) {
		s := types.FileObjectConfig(c.project.Configs[key])
		name, data := c.file("configs."+key, key, s)
		c.configs[key] = name
		if !s.External {
			c.stack.Configs = append(c.stack.Configs, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: name, Labels: c.labels(s.Labels)}, Data: data, Templating: templating(s)})
		}
	}
}

func templating(f types.FileObjectConfig) *swarm.Driver {
	if f.TemplateDriver == "" {
		return nil
	}
	return &swarm.Driver{Name: f.TemplateDriver}
}

// file returns the name of a secret or config, and its content.
func (c *converter) file(path, key string, f types.FileObjectConfig) (name string, data []byte) {
	if f.External {
		return f.Name, nil
	}
	switch {
	case f.Content != "":
		data = []byte(f.Content)
	case f.Environment != "":
		value, ok := c.project.Environment[f.Environment]
		if !ok {
			c.refuse(path+".environment", "the variable %s is not set: export it, or put it into the .env file", f.Environment)
		}
		data = []byte(value)
	case f.File != "":
		var err error
		if data, err = os.ReadFile(f.File); err != nil {
			c.refuse(path+".file", "%v", err)
		}
	default:
		c.refuse(path, "it has no content: give file, environment or content, or external: true")
	}
	if name = c.stack.Name + "_" + key; f.Name != "" && f.Name != name {
		return f.Name, data // the user's own: its content stays what it is
	}
	sum := sha256.Sum256(data)
	return name + "." + hex.EncodeToString(sum[:])[:digestLength], data
}
