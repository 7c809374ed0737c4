package view

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tenant "trireme/internal/object/network"
	"trireme/internal/object/swarm"
)

// never is how docker writes the time of what has not happened.
const never = "0001-01-01T00:00:00Z"

// Summary returns the container as a list shows it.
func (c *Container) Summary(now time.Time) container.Summary {
	s := container.Summary{
		ID: c.ID, Names: []string{"/" + c.Name}, Image: c.Spec.Image, ImageID: c.Status.ImageID, Command: strings.Join(slices.Concat(c.Spec.Command, c.Spec.Args), " "),
		Created: c.Pod.CreationTimestamp.Unix(), Ports: c.ports(), Labels: c.Labels(), State: c.State(), Status: c.status(now), Mounts: c.mounts(),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: c.networks()},
	}
	if h := c.Health(now); h != container.NoHealthcheck {
		s.Health = &container.HealthSummary{Status: h}
	}
	s.HostConfig.NetworkMode = c.NetworkMode()
	return s
}

// NetworkMode returns the name of the network that the container is in first.
func (c *Container) NetworkMode() string {
	switch {
	case c.Request != nil:
		return cmp.Or(string(c.Request.HostConfig.NetworkMode), network.NetworkBridge)
	case c.Pod.Spec.HostNetwork:
		return network.NetworkHost
	}
	return network.NetworkBridge
}

// networks returns the pod's addresses: on the networks of users that it is on, else on the
// cluster's.
func (c *Container) networks() map[string]*network.EndpointSettings {
	var lines []tenant.Attachment
	if text := c.Pod.Annotations[tenant.StatusAnnotation]; text != "" {
		_ = json.Unmarshal([]byte(text), &lines) // what cannot be read names no network
	}
	out := map[string]*network.EndpointSettings{}
	for _, line := range lines {
		if ns, name, _ := strings.Cut(line.Name, "/"); !line.Default {
			out[swarm.NetworkOf(&tenant.Network{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}).Name] = endpoint(line.IPs)
		}
	}
	only := tenant.Only(c.Pod)
	if len(out) > 0 && only {
		return out
	}
	var own []string
	for _, ip := range c.Pod.Status.PodIPs {
		if !c.Pod.Spec.HostNetwork && !only {
			own = append(own, ip.IP)
		}
	}
	name := c.NetworkMode()
	if name == network.NetworkDefault {
		name = network.NetworkBridge
	}
	out[name] = endpoint(own)
	return out
}

func endpoint(ips []string) *network.EndpointSettings {
	e := &network.EndpointSettings{}
	for _, text := range ips {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
		case a.Is4():
			e.IPAddress, e.IPPrefixLen = a, a.BitLen()
		default:
			e.GlobalIPv6Address, e.GlobalIPv6PrefixLen = a, a.BitLen()
		}
	}
	return e
}

// ports returns those that are published on the container's node, and those named.
func (c *Container) ports() []container.PortSummary {
	out := []container.PortSummary{}
	for _, p := range c.Spec.Ports {
		s := container.PortSummary{PrivatePort: uint16(p.ContainerPort), Type: strings.ToLower(string(p.Protocol))}
		if p.HostPort > 0 {
			s.PublicPort, s.IP = uint16(p.HostPort), netip.IPv4Unspecified()
			if a, err := netip.ParseAddr(p.HostIP); err == nil {
				s.IP = a
			}
		}
		out = append(out, s)
	}
	return out
}

// mounts returns what is mounted; of volumes of Kubernetes' own kinds the name.
func (c *Container) mounts() []container.MountPoint {
	out := []container.MountPoint{}
	for _, m := range c.Spec.VolumeMounts {
		i := slices.IndexFunc(c.Pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			continue
		}
		at := container.MountPoint{Type: mount.TypeVolume, Name: m.Name, Destination: m.MountPath, RW: !m.ReadOnly}
		switch v := c.Pod.Spec.Volumes[i]; {
		case v.HostPath != nil:
			at.Type, at.Name, at.Source = mount.TypeBind, "", v.HostPath.Path
		case v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory:
			at.Type, at.Name = mount.TypeTmpfs, ""
		case v.CSI != nil:
			for _, named := range swarm.NamedVolumes(&corev1.Pod{ObjectMeta: c.Pod.ObjectMeta, Spec: corev1.PodSpec{Volumes: c.Pod.Spec.Volumes[i : i+1]}}) {
				at.Name, at.Driver = named.Called(), "local"
			}
		case v.PersistentVolumeClaim != nil:
			at.Name = v.PersistentVolumeClaim.ClaimName
		case v.Image != nil:
			at.Type, at.Name, at.Source = mount.TypeImage, "", v.Image.Reference
		}
		out = append(out, at)
	}
	return out
}

// Inspect returns all that is known of the container.
func (c *Container) Inspect(now time.Time) container.InspectResponse {
	words := slices.Concat(c.Spec.Command, c.Spec.Args)
	out := container.InspectResponse{
		ID: c.ID, Created: c.Pod.CreationTimestamp.UTC().Format(time.RFC3339Nano), State: c.state(now), Image: c.Status.ImageID, Name: "/" + c.Name,
		RestartCount: int(c.Status.RestartCount), Driver: "overlay2", Platform: "linux", Args: []string{}, Mounts: c.mounts(),
		HostConfig: c.hostConfig(), Config: c.config(), NetworkSettings: &container.NetworkSettings{Networks: c.networks(), Ports: network.PortMap{}},
	}
	if len(words) > 0 {
		out.Path, out.Args = words[0], words[1:]
	}
	for _, p := range c.ports() {
		port, ok := network.PortFrom(p.PrivatePort, network.IPProtocol(p.Type))
		if !ok {
			continue
		}
		bindings := out.NetworkSettings.Ports[port]
		if p.PublicPort > 0 {
			bindings = append(bindings, network.PortBinding{HostIP: p.IP, HostPort: strconv.Itoa(int(p.PublicPort))})
		}
		out.NetworkSettings.Ports[port] = bindings
	}
	return out
}

func (c *Container) state(now time.Time) *container.State {
	st := c.State()
	s := &container.State{
		Status: st, Running: st == container.StateRunning, Restarting: st == container.StateRestarting, ExitCode: c.ExitCode(),
		Error: c.Trouble(), StartedAt: never, FinishedAt: never,
	}
	if r := c.Status.State.Running; r != nil {
		s.StartedAt = r.StartedAt.UTC().Format(time.RFC3339Nano)
	}
	if end := c.Ended(); end != nil {
		s.OOMKilled, s.FinishedAt = end.Reason == "OOMKilled", end.FinishedAt.UTC().Format(time.RFC3339Nano)
		if s.StartedAt == never {
			s.StartedAt = end.StartedAt.UTC().Format(time.RFC3339Nano)
		}
	}
	if h := c.Health(now); h != container.NoHealthcheck {
		s.Health = &container.Health{Status: h, Log: []*container.HealthcheckResult{}}
	}
	return s
}

// config returns the request's, or what a pod says of one. A hostname that was not
// asked for is the pod's name.
func (c *Container) config() *container.Config {
	if c.Request != nil {
		out := *c.Request.Config
		out.Hostname = cmp.Or(out.Hostname, c.Pod.Name)
		return &out
	}
	out := &container.Config{
		Hostname: cmp.Or(c.Pod.Spec.Hostname, c.Pod.Name), Image: c.Spec.Image, Entrypoint: c.Spec.Command, Cmd: c.Spec.Args, Env: []string{}, WorkingDir: c.Spec.WorkingDir,
		Tty: c.Spec.TTY, OpenStdin: c.Spec.Stdin, StdinOnce: c.Spec.StdinOnce, Labels: c.Labels(),
	}
	for _, e := range c.Spec.Env {
		if e.ValueFrom == nil {
			out.Env = append(out.Env, e.Name+"="+e.Value)
		}
	}
	if sc := c.Spec.SecurityContext; sc != nil && sc.RunAsUser != nil {
		out.User = strconv.FormatInt(*sc.RunAsUser, 10)
	}
	return out
}

func (c *Container) hostConfig() *container.HostConfig {
	if c.Request != nil {
		return c.Request.HostConfig
	}
	h := &container.HostConfig{NetworkMode: container.NetworkMode(c.NetworkMode()), RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways}}
	switch c.Pod.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		h.RestartPolicy.Name = container.RestartPolicyDisabled
	case corev1.RestartPolicyOnFailure:
		h.RestartPolicy.Name = container.RestartPolicyOnFailure
	}
	h.NanoCPUs, h.Memory = c.Spec.Resources.Limits.Cpu().MilliValue()*1e6, c.Spec.Resources.Limits.Memory().Value()
	if sc := c.Spec.SecurityContext; sc != nil {
		h.Privileged = sc.Privileged != nil && *sc.Privileged
		h.ReadonlyRootfs = sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem
	}
	return h
}
