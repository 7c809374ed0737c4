package docker

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

var systemRoutes = map[string]handler{
	"GET /_ping": ping, "HEAD /_ping": ping, "GET /version": version, "GET /info": info,
}

func ping(c *call) (any, error) {
	h := c.out.Header()
	h.Set("Builder-Version", "2")
	h.Set("Swarm", "active/manager")
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	c.out.WriteHeader(http.StatusOK)
	if c.Method == http.MethodGet {
		fmt.Fprint(c.out, "OK")
	}
	return streamed, nil
}

func version(c *call) (any, error) {
	kernel := ""
	if n, ok := c.self(); ok {
		kernel = n.Status.NodeInfo.KernelVersion
	}
	v := system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Trireme"}, Version: c.door.cfg.Version, APIVersion: versionMax, MinAPIVersion: versionMin,
		Os: runtime.GOOS, Arch: runtime.GOARCH, GoVersion: runtime.Version(), KernelVersion: kernel,
	}
	v.Components = []system.ComponentVersion{{Name: "Engine", Version: v.Version, Details: map[string]string{
		"ApiVersion": versionMax, "MinAPIVersion": versionMin, "Os": v.Os, "Arch": v.Arch, "GoVersion": v.GoVersion, "KernelVersion": kernel,
	}}}
	return v, nil
}

// self returns this machine's node; false: it is no node, or not yet.
func (c *call) self() (*corev1.Node, bool) {
	return tables.Nodes.Get(c.snap, object.Key{Name: c.door.cfg.Node})
}

func info(c *call) (any, error) {
	i := system.Info{
		ID: c.clusterID(), ServerVersion: c.door.cfg.Version, OSType: runtime.GOOS, DockerRootDir: c.door.cfg.Root,
		Driver: "overlay2", LoggingDriver: "json-file", CgroupDriver: "cgroupfs", SystemTime: time.Now().Format(time.RFC3339Nano),
		IndexServerAddress: "https://index.docker.io/v1/", SecurityOptions: []string{"name=seccomp,profile=builtin"},
		MemoryLimit: true, CPUCfsPeriod: true, CPUCfsQuota: true, CPUShares: true, CPUSet: true, PidsLimit: true, IPv4Forwarding: true,
		Plugins: system.PluginsInfo{Volume: []string{"local"}, Network: []string{"bridge", "host", "null", "overlay"}, Log: []string{"json-file", "local"}},
		Swarm:   c.swarmInfo(),
	}
	if n, ok := c.self(); ok {
		i.Name = n.Name
		i.KernelVersion, i.OperatingSystem, i.Architecture = n.Status.NodeInfo.KernelVersion, n.Status.NodeInfo.OSImage, kernelArch(n.Status.NodeInfo.Architecture)
		i.NCPU, i.MemTotal = int(n.Status.Capacity.Cpu().Value()), n.Status.Capacity.Memory().Value()
		i.Images = len(n.Status.Images)
	}
	for one := range c.door.engine.Containers(c.engine()) {
		i.Containers++
		if one.State() == container.StateRunning {
			i.ContainersRunning++
		} else {
			i.ContainersStopped++
		}
	}
	return i, nil
}

// clusterID is the id of the cluster: that of the namespace that every cluster has.
func (c *call) clusterID() string {
	if ns, ok := tables.Namespaces.Get(c.snap, object.Key{Name: metav1.NamespaceSystem}); ok {
		return ours.ID(ns.UID)
	}
	return ""
}

func (c *call) swarmInfo() swarm.Info {
	i := swarm.Info{LocalNodeState: swarm.LocalNodeStateActive, ControlAvailable: true, Cluster: c.cluster()}
	for n := range tables.Nodes.All(c.snap) {
		i.Nodes++
		addr := address(n)
		if n.Name == c.door.cfg.Node {
			i.NodeID, i.NodeAddr = ours.ID(n.UID), addr
		}
		if c.managerStatus(n) != nil {
			i.Managers++
			i.RemoteManagers = append(i.RemoteManagers, swarm.Peer{NodeID: ours.ID(n.UID), Addr: c.joinAt(n)})
		}
	}
	return i
}

// meta returns what docker's clients know of every object of a cluster. When it was last
// changed is nowhere written: the last manager of its fields says it best.
func meta(o metav1.Object) swarm.Meta {
	m := swarm.Meta{CreatedAt: o.GetCreationTimestamp().UTC(), UpdatedAt: o.GetCreationTimestamp().UTC()}
	m.Version.Index = parseIndex(o.GetResourceVersion())
	times := []time.Time{m.UpdatedAt}
	for _, f := range o.GetManagedFields() {
		if f.Time != nil {
			times = append(times, f.Time.UTC())
		}
	}
	m.UpdatedAt = slices.MaxFunc(times, time.Time.Compare)
	return m
}

// joinAt returns where machines join by way of the manager: what `trireme join` is told.
func (c *call) joinAt(n *corev1.Node) string {
	return net.JoinHostPort(address(n), c.door.cfg.JoinPort)
}

// address returns the node's address, as other nodes reach it.
func address(n *corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}

// kernelArch returns an architecture in the kernel's words.
func kernelArch(arch string) string {
	return cmp.Or(map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch], arch)
}
