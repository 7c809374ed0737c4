package compose

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
)

// container is what runs in a task.
func (c *converter) container(path string, s types.ContainerSpec) *swarm.ContainerSpec {
	out := &swarm.ContainerSpec{
		Image: s.Image, Labels: c.labels(s.Labels), Command: []string(s.Entrypoint), Args: []string(s.Command), Hostname: s.Hostname,
		Dir: s.WorkingDir, User: s.User, Groups: s.GroupAdd, Init: s.Init, StopSignal: s.StopSignal, ReadOnly: s.ReadOnly,
		StopGracePeriod: durationOf(s.StopGracePeriod), Sysctls: map[string]string(s.Sysctls), CapabilityAdd: s.CapAdd, CapabilityDrop: s.CapDrop, OomScoreAdj: s.OomScoreAdj,
	}
	for _, w := range []struct {
		field string
		words types.ShellCommand
	}{{"entrypoint", s.Entrypoint}, {"command", s.Command}} {
		if w.words != nil && len(w.words) == 0 {
			c.refuse(path+"."+w.field, "the image's own cannot be taken away: write what is to run")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		if v := s.Environment[name]; v != nil {
			out.Env = append(out.Env, name+"="+*v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.ExtraHosts)) {
		for _, address := range s.ExtraHosts[name] {
			out.Hosts = append(out.Hosts, address+" "+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		u := s.Ulimits[name]
		soft, hard := u.Soft, u.Hard
		if u.Single != 0 {
			soft, hard = u.Single, u.Single
		}
		out.Ulimits = append(out.Ulimits, &container.Ulimit{Name: name, Soft: int64(soft), Hard: int64(hard)})
	}
	c.dns(path, out, s)
	c.security(path, out, s)
	c.mounts(path, out, s)
	c.references(path, out, s)
	switch s.PullPolicy {
	case "", types.PullPolicyMissing, types.PullPolicyIfNotPresent, types.PullPolicyAlways, types.PullPolicyBuild:
	default:
		c.refuse(path+".pull_policy", "%q cannot be honoured: a node looks for an image when a task starts: leave it away", s.PullPolicy)
	}
	return out
}

func (c *converter) dns(path string, out *swarm.ContainerSpec, s types.ContainerSpec) {
	if len(s.DNS)+len(s.DNSSearch)+len(s.DNSOpts) == 0 {
		return
	}
	out.DNSConfig = &swarm.DNSConfig{Search: s.DNSSearch, Options: s.DNSOpts}
	for i, text := range s.DNS {
		a, err := netip.ParseAddr(text)
		if err != nil {
			c.refuse(fmt.Sprintf("%s.dns[%d]", path, i), "%q is no address", text)
			continue
		}
		out.DNSConfig.Nameservers = append(out.DNSConfig.Nameservers, a)
	}
}

// security reads security_opt (docker run, --security-opt).
func (c *converter) security(path string, out *swarm.ContainerSpec, s types.ContainerSpec) {
	p := &swarm.Privileges{}
	for i, text := range s.SecurityOpt {
		name, value, _ := strings.Cut(strings.Replace(text, ":", "=", 1), "=")
		switch {
		case name == "no-new-privileges" && value != "false":
			p.NoNewPrivileges = true
		case name == "seccomp" && value == "unconfined":
			p.Seccomp = &swarm.SeccompOpts{Mode: swarm.SeccompModeUnconfined}
		case name == "apparmor" && value == "unconfined":
			p.AppArmor = &swarm.AppArmorOpts{Mode: swarm.AppArmorModeDisabled}
		case name == "no-new-privileges":
		default:
			c.refuse(fmt.Sprintf("%s.security_opt[%d]", path, i), "%q cannot be honoured: no-new-privileges, seccomp=unconfined and apparmor=unconfined can", text)
		}
	}
	if p.NoNewPrivileges || p.Seccomp != nil || p.AppArmor != nil {
		out.Privileges = p
	}
}

// mounts are volumes, folders of the node and of memory.
func (c *converter) mounts(path string, out *swarm.ContainerSpec, s types.ContainerSpec) {
	for i, v := range s.Volumes {
		m := mount.Mount{Type: mount.Type(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
		field := fmt.Sprintf("%s.volumes[%d]", path, i)
		switch v.Type {
		case types.VolumeTypeBind:
			if b := v.Bind; b != nil {
				m.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(b.Propagation), CreateMountpoint: bool(b.CreateHostPath)}
			}
		case types.VolumeTypeVolume:
			c.volume(&m, v)
		case types.VolumeTypeTmpfs:
			if t := v.Tmpfs; t != nil {
				m.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: int64(t.Size), Mode: os.FileMode(t.Mode)}
			}
		case types.VolumeTypeImage:
		default:
			c.refuse(field+".type", "%q cannot be mounted: use bind, volume, tmpfs or image", v.Type)
		}
		out.Mounts = append(out.Mounts, m)
	}
	for i, text := range s.Tmpfs {
		m, err := tmpfs(text)
		if err != nil {
			c.refuse(fmt.Sprintf("%s.tmpfs[%d]", path, i), "%v", err)
		}
		out.Mounts = append(out.Mounts, m)
	}
	if s.ShmSize > 0 {
		out.Mounts = append(out.Mounts, mount.Mount{Type: mount.TypeTmpfs, Target: "/dev/shm", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: int64(s.ShmSize)}})
	}
}

// volume names a volume as the cluster does, with its driver.
func (c *converter) volume(m *mount.Mount, v types.ServiceVolumeConfig) {
	o := &mount.VolumeOptions{}
	if conf := v.Volume; conf != nil {
		o.NoCopy, o.Subpath, o.Labels = conf.NoCopy, conf.Subpath, map[string]string(conf.Labels)
	}
	if top, named := c.project.Volumes[v.Source]; named && v.Source != "" {
		m.Source = top.Name
		if !top.External {
			o.Labels = c.labels(top.Labels)
			if top.Driver != "" || len(top.DriverOpts) > 0 {
				o.DriverConfig = &mount.Driver{Name: top.Driver, Options: map[string]string(top.DriverOpts)}
			}
		}
	}
	m.VolumeOptions = o
}

// tmpfs reads PATH[:OPTIONS] (docker run, --tmpfs).
func tmpfs(text string) (m mount.Mount, err error) {
	at, options, _ := strings.Cut(text, ":")
	m = mount.Mount{Type: mount.TypeTmpfs, Target: at}
	for _, o := range split(options) {
		if m.TmpfsOptions == nil {
			m.TmpfsOptions = &mount.TmpfsOptions{}
		}
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "size":
			m.TmpfsOptions.SizeBytes, err = units.RAMInBytes(value)
		case "mode":
			var mode uint64
			mode, err = strconv.ParseUint(value, 8, 32)
			m.TmpfsOptions.Mode = os.FileMode(mode)
		case "ro":
			m.ReadOnly = true
		case "rw", "nosuid", "nodev", "noexec", "exec":
		default:
			err = fmt.Errorf("the option %q cannot be honoured: size and mode can", o)
		}
		if err != nil {
			return m, fmt.Errorf("%q: %w", text, err)
		}
	}
	return m, nil
}

// references are the secrets and configs that a task is given.
func (c *converter) references(path string, out *swarm.ContainerSpec, s types.ContainerSpec) {
	for i, r := range s.Secrets {
		f, name := c.reference(fmt.Sprintf("%s.secrets[%d]", path, i), types.FileReferenceConfig(r), c.secrets, r.Source)
		out.Secrets = append(out.Secrets, &swarm.SecretReference{File: (*swarm.SecretReferenceFileTarget)(f), SecretName: name})
	}
	for i, r := range s.Configs {
		f, name := c.reference(fmt.Sprintf("%s.configs[%d]", path, i), types.FileReferenceConfig(r), c.configs, "/"+r.Source)
		out.Configs = append(out.Configs, &swarm.ConfigReference{File: (*swarm.ConfigReferenceFileTarget)(f), ConfigName: name})
	}
}

// fileTarget is where a secret or config is, and whose it is.
type fileTarget struct {
	Name, UID, GID string
	Mode           os.FileMode
}

// fileMode is that of a secret or config of which nothing else is said.
const fileMode = 0o444

func (c *converter) reference(path string, r types.FileReferenceConfig, names map[string]string, target string) (*fileTarget, string) {
	name, ok := names[r.Source]
	if !ok {
		c.refuse(path+".source", "%q is not among those of the file", r.Source)
	}
	f := &fileTarget{Name: orText(r.Target, target), UID: orText(r.UID, "0"), GID: orText(r.GID, "0"), Mode: fileMode}
	if r.Mode != nil {
		f.Mode = os.FileMode(*r.Mode)
	}
	return f, name
}
