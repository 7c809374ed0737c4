package bare

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	ours "trireme/internal/object/swarm"
)

func seconds(n int) time.Duration { return time.Duration(max(n, 0)) * time.Second }

// Resources returns limits and reservations in a service's words.
func Resources(r *container.Resources) *swarm.ResourceRequirements {
	limits := &swarm.Limit{NanoCPUs: r.NanoCPUs, MemoryBytes: r.Memory}
	if r.CPUQuota > 0 {
		period := r.CPUPeriod
		if period <= 0 {
			period = 100_000 // microseconds; docker's
		}
		limits.NanoCPUs = r.CPUQuota * 1e9 / period
	}
	if r.PidsLimit != nil && *r.PidsLimit > 0 {
		limits.Pids = *r.PidsLimit
	}
	return &swarm.ResourceRequirements{Limits: limits, Reservations: &swarm.Resources{MemoryBytes: r.MemoryReservation}}
}

// Limits returns the limits as a container has them.
func Limits(r *container.Resources) corev1.ResourceList {
	out, l := corev1.ResourceList{}, Resources(r).Limits
	if l.NanoCPUs > 0 {
		out[corev1.ResourceCPU] = *resource.NewMilliQuantity((l.NanoCPUs+999_999)/1e6, resource.DecimalSI)
	}
	if l.MemoryBytes > 0 {
		out[corev1.ResourceMemory] = *resource.NewQuantity(l.MemoryBytes, resource.BinarySI)
	}
	return out
}

// Updatable returns what of an update a container that runs cannot be given, by its field.
func Updatable(u *container.UpdateConfig) error {
	like := &container.CreateRequest{Config: &container.Config{Image: "-"}, HostConfig: &container.HostConfig{Resources: u.Resources}}
	for _, r := range append(refusals(like), []refusal{
		{u.RestartPolicy.Name != "", "RestartPolicy", "a pod keeps its own: make the container anew"},
		{u.MemoryReservation != 0, "MemoryReservation", "a container that runs keeps what it has reserved"},
		{u.PidsLimit != nil && *u.PidsLimit > 0, "PidsLimit", "limit all pods of a node with --pod-max-pids"},
		{len(u.Ulimits) > 0, "Ulimits", "set them on the node"},
	}...) {
		if r.asked {
			return fmt.Errorf("%s: %s", strings.TrimPrefix(r.field, "HostConfig."), r.remedy)
		}
	}
	return nil
}

// extras are the rights and devices that a service asks for by labels.
func extras(req *container.CreateRequest) (map[string]string, error) {
	labels, h := map[string]string{}, req.HostConfig
	for name, list := range addresses(req) {
		labels[ours.AddressLabel+name] = list
	}
	if h.Privileged {
		labels[ours.PrivilegedLabel] = "true"
	}
	if h.PidMode.IsHost() {
		labels[ours.PIDLabel] = "host"
	}
	if h.IpcMode.IsHost() {
		labels[ours.IPCLabel] = "host"
	}
	var devices []string
	for _, d := range h.Devices {
		devices = append(devices, strings.Join([]string{d.PathOnHost, d.PathInContainer, d.CgroupPermissions}, ":"))
	}
	if len(devices) > 0 {
		labels[ours.DevicesLabel] = strings.Join(devices, ",")
	}
	for i, r := range h.DeviceRequests {
		if r.Driver != "" && r.Driver != "nvidia" || r.Count <= 0 || len(r.DeviceIDs) > 0 {
			return nil, fmt.Errorf("HostConfig.DeviceRequests[%d]: a number of nvidia's cards can be asked for, as with --gpus 2", i)
		}
		labels[ours.ResourcesLabel] = "nvidia.com/gpu=" + strconv.Itoa(r.Count)
	}
	return labels, nil
}

// hosts turns NAME:ADDRESS into lines of a hosts file.
func hosts(extra []string) (out []string, err error) {
	for i, text := range extra {
		name, address, ok := strings.Cut(text, "=")
		if !ok {
			name, address, ok = strings.Cut(text, ":")
		}
		address = strings.Trim(address, "[]")
		if !ok || address == "host-gateway" {
			return nil, fmt.Errorf("HostConfig.ExtraHosts[%d]: %q: it is NAME:ADDRESS; a node's own address is not known before the container has one", i, text)
		}
		out = append(out, address+" "+name)
	}
	return out, nil
}

func privileges(options []string) (*swarm.Privileges, error) {
	p := &swarm.Privileges{}
	for i, text := range options {
		profile, given := strings.CutPrefix(text, "seccomp=")
		if given && strings.HasPrefix(profile, "{") { // the client has read the file
			p.Seccomp = &swarm.SeccompOpts{Mode: swarm.SeccompModeCustom, Profile: []byte(profile)}
			continue
		}
		switch text {
		case "no-new-privileges", "no-new-privileges:true", "no-new-privileges=true":
			p.NoNewPrivileges = true
		case "seccomp=unconfined", "seccomp:unconfined":
			p.Seccomp = &swarm.SeccompOpts{Mode: swarm.SeccompModeUnconfined}
		default:
			return nil, fmt.Errorf("HostConfig.SecurityOpt[%d]: %q: no-new-privileges and seccomp are known here", i, text)
		}
	}
	return p, nil
}

// mounts are those of all the ways in which docker says them.
func mounts(req *container.CreateRequest) ([]mount.Mount, error) {
	h := req.HostConfig
	out := slices.Clone(h.Mounts)
	for i := range out {
		out[i].Source, out[i].Target = literal(out[i].Source), literal(out[i].Target)
	}
	for i, text := range h.Binds {
		m, err := bind(text)
		if err != nil {
			return nil, fmt.Errorf("HostConfig.Binds[%d]: %w", i, err)
		}
		out = append(out, m)
	}
	for _, target := range slices.Sorted(maps.Keys(h.Tmpfs)) {
		m := mount.Mount{Type: mount.TypeTmpfs, Target: literal(target), TmpfsOptions: &mount.TmpfsOptions{}}
		for option := range strings.SplitSeq(h.Tmpfs[target], ",") {
			name, value, _ := strings.Cut(option, "=")
			size, err := units.RAMInBytes(value)
			switch {
			case name == "" || name == "rw":
			case name == "size" && err == nil:
				m.TmpfsOptions.SizeBytes = size
			default:
				return nil, fmt.Errorf("HostConfig.Tmpfs[%s]: %q: size is the option that is known here, as in size=64m", target, option)
			}
		}
		out = append(out, m)
	}
	if h.ShmSize > 0 {
		out = append(out, mount.Mount{Type: mount.TypeTmpfs, Target: "/dev/shm", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: h.ShmSize}})
	}
	for _, target := range slices.Sorted(maps.Keys(req.Config.Volumes)) {
		if !slices.ContainsFunc(out, func(m mount.Mount) bool { return m.Target == target }) {
			out = append(out, mount.Mount{Type: mount.TypeVolume, Target: literal(target)})
		}
	}
	return out, nil
}

// bind reads SOURCE:TARGET[:OPTIONS], or a volume's TARGET alone.
func bind(text string) (mount.Mount, error) {
	parts := strings.Split(text, ":")
	if len(parts) > 3 || len(parts[len(parts)-1]) == 0 {
		return mount.Mount{}, fmt.Errorf("%q is not of the form SOURCE:TARGET[:OPTIONS]", text)
	}
	if len(parts) == 1 {
		return mount.Mount{Type: mount.TypeVolume, Target: literal(parts[0])}, nil
	}
	m := mount.Mount{Type: mount.TypeVolume, Source: literal(parts[0]), Target: literal(parts[1])}
	if path.IsAbs(parts[0]) {
		m.Type, m.BindOptions = mount.TypeBind, &mount.BindOptions{CreateMountpoint: true}
	}
	if len(parts) < 3 {
		return m, nil
	}
	for option := range strings.SplitSeq(parts[2], ",") {
		switch option {
		case "ro":
			m.ReadOnly = true
		case "", "rw", "nocopy", "z", "Z": // no labels of SELinux here
		case "rslave", "slave", "rshared", "shared", "rprivate", "private":
			if m.BindOptions == nil {
				return m, fmt.Errorf("%q: %s is for binds, not for volumes", text, option)
			}
			m.BindOptions.Propagation = mount.Propagation(option)
		default:
			return m, fmt.Errorf("%q: option %q: it is ro, rw, or how mounts spread (rslave, rshared, rprivate)", text, option)
		}
	}
	return m, nil
}

// networks are those that the container is on; none: the cluster's own.
func networks(req *container.CreateRequest) (out []swarm.NetworkAttachmentConfig, err error) {
	add := func(name string) int {
		if name == network.NetworkDefault {
			name = network.NetworkBridge
		}
		at := slices.IndexFunc(out, func(n swarm.NetworkAttachmentConfig) bool { return n.Target == name })
		if at < 0 {
			at, out = len(out), append(out, swarm.NetworkAttachmentConfig{Target: name})
		}
		return at
	}
	if mode := string(req.HostConfig.NetworkMode); mode != "" {
		add(mode)
	}
	if req.NetworkingConfig == nil {
		return out, nil
	}
	for _, name := range slices.Sorted(maps.Keys(req.NetworkingConfig.EndpointsConfig)) {
		e := req.NetworkingConfig.EndpointsConfig[name]
		at := add(name)
		if e == nil {
			continue
		}
		if len(e.MacAddress) > 0 {
			return nil, fmt.Errorf("NetworkingConfig.EndpointsConfig[%s].MacAddress: it is the cluster's to give", name)
		}
		out[at].Aliases, out[at].DriverOpts = e.Aliases, e.DriverOpts
	}
	return out, nil
}

// addresses are those that the container asks for, by network.
func addresses(req *container.CreateRequest) map[string]string {
	out := map[string]string{}
	if req.NetworkingConfig == nil {
		return out
	}
	for name, e := range req.NetworkingConfig.EndpointsConfig {
		if e == nil || e.IPAMConfig == nil {
			continue
		}
		for _, a := range []netip.Addr{e.IPAMConfig.IPv4Address, e.IPAMConfig.IPv6Address} {
			if a.IsValid() {
				out[name] = strings.TrimPrefix(out[name]+","+a.String(), ",")
			}
		}
	}
	return out
}

type refusal struct {
	asked         bool
	field, remedy string
}

// refusals are the fields that no pod can be.
func refusals(req *container.CreateRequest) []refusal {
	c, h := req.Config, req.HostConfig
	r := &h.Resources
	const unlike = "containers of one pod share this, and a pod of docker run has one"
	return []refusal{
		{c.Image == "", "Config.Image", "a container needs an image"},
		{c.Domainname != "", "Config.Domainname", "names are the cluster's; give --hostname"},
		{c.NetworkDisabled, "Config.NetworkDisabled", "give --network none"},
		{h.NetworkMode.IsContainer(), "HostConfig.NetworkMode", unlike},
		{h.IpcMode.IsContainer() || h.IpcMode.IsNone(), "HostConfig.IpcMode", unlike + "; host and private are known"},
		{h.PidMode.IsContainer(), "HostConfig.PidMode", unlike + "; host is known"},
		{h.Cgroup != "" || r.CgroupParent != "", "HostConfig.Cgroup", "the node places pods in its tree"},
		{h.CgroupnsMode.IsHost(), "HostConfig.CgroupnsMode", "private is known"},
		{h.UTSMode.IsHost() && !h.NetworkMode.IsHost(), "HostConfig.UTSMode", "host comes with --network host"},
		{len(h.VolumesFrom) > 0, "HostConfig.VolumesFrom", "name the volumes with --volume"},
		{h.VolumeDriver != "" && h.VolumeDriver != "local", "HostConfig.VolumeDriver", "make the volume with `docker volume create --driver`, and name it"},
		{len(h.Links) > 0, "HostConfig.Links", "containers of one network know each other by name: give --network"},
		{len(h.StorageOpt) > 0, "HostConfig.StorageOpt", "how large a container may grow is its node's affair"},
		{h.MaskedPaths != nil || h.ReadonlyPaths != nil, "HostConfig.MaskedPaths and ReadonlyPaths", "the usual ones are hidden; --privileged shows them"},
		{h.RestartPolicy.MaximumRetryCount != 0, "HostConfig.RestartPolicy.MaximumRetryCount", "a pod is started again without end, ever more slowly"},
		{h.AutoRemove && !h.RestartPolicy.IsNone(), "HostConfig.AutoRemove", "can't be combined with a restart policy"},
		{len(r.DeviceCgroupRules) > 0, "HostConfig.DeviceCgroupRules", "name the devices with --device"},
		{r.CPUShares != 0, "HostConfig.CpuShares", "give --cpus"},
		{r.CpusetCpus != "" || r.CpusetMems != "", "HostConfig.CpusetCpus", "nodes choose them; give whole --cpus, and --memory"},
		{r.CPURealtimePeriod != 0 || r.CPURealtimeRuntime != 0, "HostConfig.CpuRealtimeRuntime", "there is no real time here"},
		{r.MemorySwap > 0 && r.MemorySwap != r.Memory, "HostConfig.MemorySwap", "how a container swaps is its node's affair"},
		{r.MemorySwappiness != nil && *r.MemorySwappiness >= 0, "HostConfig.MemorySwappiness", "how a container swaps is its node's affair"},
		{r.OomKillDisable != nil && *r.OomKillDisable, "HostConfig.OomKillDisable", "a container that is over its --memory ends"},
		{r.BlkioWeight != 0 || len(r.BlkioWeightDevice)+len(r.BlkioDeviceReadBps)+len(r.BlkioDeviceReadIOps)+len(r.BlkioDeviceWriteBps)+len(r.BlkioDeviceWriteIOps) > 0,
			"HostConfig.BlkioWeight", "disks are not shared out here"},
	}
}
