package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// Config is what a Manager is told. All is required.
type Config struct {
	Dir     string // of the sockets: kubelet.sock is ours
	Path    string // the file of what was given
	Changed func() // Resources has another answer
	Log     *slog.Logger
}

// Given is what a container needs to use its devices.
type Given struct {
	Env         []runtime.KeyValue
	Mounts      []runtime.Mount
	Devices     []runtime.Device
	Annotations map[string]string
}

// owner is a container of a pod.
type owner struct {
	UID       types.UID
	Container string
}

// plugin is what serves one resource. A nil client: it has gone.
type plugin struct {
	client   pluginapi.DevicePluginClient
	preStart bool
	healthy  map[string]bool // the devices
}

// record is what the file holds.
type record struct {
	Resources []string // that there have been
	Given     []grant
}

type grant struct {
	Owner    owner
	Resource string
	Devices  []string
}

// Manager keeps the node's devices.
type Manager struct {
	cfg Config

	mu      sync.Mutex
	plugins map[string]*plugin // by resource
	given   []grant
	late    chan func(context.Context) // what Run is to run
}

// Open returns a Manager that knows what an earlier one gave; it serves nobody yet.
func Open(cfg Config) (*Manager, error) {
	m := &Manager{cfg: cfg, plugins: map[string]*plugin{}, late: make(chan func(context.Context))}
	b, err := os.ReadFile(cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	var r record
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return nil, fmt.Errorf("reading who has which devices: %w: remove %s once no pod runs", err, cfg.Path)
	}
	m.given = r.Given
	for _, name := range r.Resources {
		m.plugins[name] = &plugin{} // until it registers again
	}
	return m, nil
}

// Resources returns the node's devices as extended resources, and the healthy ones. A
// resource whose plugin has gone has none.
func (m *Manager) Resources() (capacity, allocatable corev1.ResourceList) {
	m.mu.Lock()
	defer m.mu.Unlock()
	capacity, allocatable = corev1.ResourceList{}, corev1.ResourceList{}
	for name, p := range m.plugins {
		healthy := 0
		for _, ok := range p.healthy {
			if ok {
				healthy++
			}
		}
		capacity[corev1.ResourceName(name)] = *resource.NewQuantity(int64(len(p.healthy)), resource.DecimalSI)
		allocatable[corev1.ResourceName(name)] = *resource.NewQuantity(int64(healthy), resource.DecimalSI)
	}
	return capacity, allocatable
}

// Holding is some devices of a resource.
type Holding struct {
	Resource string
	Devices  []string
}

// Held returns the devices that a container has, in the order in which it got them.
func (m *Manager) Held(uid types.UID, container string) (out []Holding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.given {
		if g.Owner == (owner{uid, container}) {
			out = append(out, Holding{g.Resource, slices.Clone(g.Devices)})
		}
	}
	return out
}

// Healthy returns the devices that can be given, by resource, also those that are.
func (m *Manager) Healthy() (out []Holding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.plugins)) {
		h := Holding{Resource: name}
		for _, id := range slices.Sorted(maps.Keys(m.plugins[name].healthy)) {
			if m.plugins[name].healthy[id] {
				h.Devices = append(h.Devices, id)
			}
		}
		if len(h.Devices) > 0 {
			out = append(out, h)
		}
	}
	return out
}

// Give gives a container the devices that it asks for, the same ones when it is asked
// again, and returns what it needs to use them.
func (m *Manager) Give(ctx context.Context, uid types.UID, c *corev1.Container) (*Given, error) {
	out := &Given{Annotations: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(c.Resources.Limits)) {
		n := c.Resources.Limits[name]
		p, devices, err := m.choose(owner{uid, c.Name}, string(name), int(n.Value()))
		if err != nil {
			return nil, err
		}
		if len(devices) == 0 {
			continue
		}
		if err := p.allocate(ctx, devices, out); err != nil {
			return nil, fmt.Errorf("allocating %s: %w", name, err)
		}
	}
	return out, nil
}

// choose picks devices for a container and notes that it has them. None: no plugin
// serves the resource.
func (m *Manager) choose(o owner, name string, n int) (*plugin, []string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.plugins[name]
	if p == nil || n == 0 {
		return nil, nil, nil
	}
	if p.client == nil {
		return nil, nil, kind.New(kind.Unavailable, "the device plugin of %s is not there", name)
	}
	taken := map[string]bool{}
	for _, g := range m.given {
		if g.Resource != name {
			continue
		}
		if g.Owner == o && len(g.Devices) == n {
			return p, g.Devices, nil
		}
		for _, id := range g.Devices {
			taken[id] = true
		}
	}
	var free []string
	for _, id := range slices.Sorted(maps.Keys(p.healthy)) {
		if p.healthy[id] && !taken[id] {
			free = append(free, id)
		}
	}
	if len(free) < n {
		return nil, nil, kind.New(kind.Unavailable, "requested number of devices unavailable for %s. Requested: %d, Available: %d", name, n, len(free))
	}
	m.given = append(m.given, grant{o, name, free[:n]})
	return p, free[:n], m.saveLocked()
}

// allocate asks the plugin what a container needs for the devices.
func (p *plugin) allocate(ctx context.Context, devices []string, out *Given) error {
	res, err := p.client.Allocate(ctx, &pluginapi.AllocateRequest{ContainerRequests: []*pluginapi.ContainerAllocateRequest{{DevicesIds: devices}}})
	if err != nil {
		return err
	}
	if len(res.ContainerResponses) != 1 {
		return kind.New(kind.Malformed, "the device plugin answered for %d containers instead of one", len(res.ContainerResponses))
	}
	r := res.ContainerResponses[0]
	if len(r.CdiDevices) > 0 {
		return kind.New(kind.Invalid, "the device plugin names CDI devices, which this node does not know")
	}
	for _, k := range slices.Sorted(maps.Keys(r.Envs)) {
		out.Env = append(out.Env, runtime.KeyValue{Key: k, Value: r.Envs[k]})
	}
	for _, one := range r.Mounts {
		out.Mounts = append(out.Mounts, runtime.Mount{HostPath: one.HostPath, Path: one.ContainerPath, ReadOnly: one.ReadOnly})
	}
	for _, one := range r.Devices {
		out.Devices = append(out.Devices, runtime.Device{HostPath: one.HostPath, Path: one.ContainerPath, Permissions: one.Permissions})
	}
	maps.Copy(out.Annotations, r.Annotations)
	if p.preStart {
		if _, err := p.client.PreStartContainer(ctx, &pluginapi.PreStartContainerRequest{DevicesIds: devices}); err != nil {
			return fmt.Errorf("preparing the devices: %w", err)
		}
	}
	return nil
}

// Keep takes back what pods have that has returns false of.
func (m *Manager) Keep(has func(types.UID) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.given)
	m.given = slices.DeleteFunc(m.given, func(g grant) bool { return !has(g.Owner.UID) })
	if len(m.given) == before {
		return nil
	}
	return m.saveLocked()
}

func (m *Manager) saveLocked() error {
	b, err := json.Marshal(record{slices.Sorted(maps.Keys(m.plugins)), m.given})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.cfg.Path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(m.cfg.Path+".new", b, 0o600); err != nil {
		return fmt.Errorf("noting who has which devices: %w", err)
	}
	return os.Rename(m.cfg.Path+".new", m.cfg.Path)
}
