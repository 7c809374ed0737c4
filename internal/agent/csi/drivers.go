package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/wire"
)

// Config is what Drivers need; all is required.
type Config struct {
	Home    Home
	Node    string
	Objects Objects
	// Token returns a token of the pod's service account, and when it ends.
	Token func(pod *corev1.Pod, src *corev1.ServiceAccountTokenProjection) (string, time.Time, error)
	// Context returns what calls live in.
	Context func() context.Context
	// Changed is called after drivers came or went, Used after the node took an attached
	// volume or let it go, Grown after a volume has grown here.
	Changed, Used, Grown func()
	Log                  *slog.Logger
}

// Objects finds what is told of drivers and of volumes.
type Objects interface {
	Secret(object.Key) (*corev1.Secret, bool)
	Driver(name string) (*storagev1.CSIDriver, bool)
	Attachment(name string) (*storagev1.VolumeAttachment, bool)
}

// Drivers are those that serve this node.
type Drivers struct {
	cfg    Config
	shared sync.Once

	mu      sync.Mutex
	sockets map[string]*socket          // by name in the registry
	drivers map[string]*driver          // by name
	volumes map[string]*busy            // on which a call is made
	refused map[string]*wire.Infeasible // by PersistentVolume
}

// driver is one that is registered.
type driver struct {
	name string
	from *socket
	conn *grpc.ClientConn
	node csi.NodeClient
	info *csi.NodeGetInfoResponse
	can  map[csi.NodeServiceCapability_RPC_Type]bool
}

// New returns Drivers that know none yet.
func New(cfg Config) *Drivers {
	return &Drivers{cfg: cfg, sockets: map[string]*socket{}, drivers: map[string]*driver{}, volumes: map[string]*busy{}, refused: map[string]*wire.Infeasible{}}
}

// callTimeout is how long a driver may take for one call.
const callTimeout = 2 * time.Minute

func (d *Drivers) call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(d.cfg.Context(), callTimeout)
}

// Here returns where a path that a pod names lies on this node. The first pod that
// names one below the root may be a driver: from then on mounts there are shared. A
// node without drivers has no mount more.
func (d *Drivers) Here(path string) string {
	here := d.cfg.Home.Here(path)
	if d.cfg.Home.has(here) {
		d.shared.Do(d.share)
	}
	return here
}

func (d *Drivers) share() {
	for _, dir := range d.cfg.Home.dirs() {
		if err := errors.Join(os.MkdirAll(dir, 0o755), share(dir)); err != nil {
			d.cfg.Log.Error("sharing mounts with drivers", "err", err)
		}
	}
}

// driver returns the driver of the name, if it is registered.
func (d *Drivers) driver(name string) (*driver, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one := d.drivers[name]; one != nil {
		return one, nil
	}
	return nil, fmt.Errorf("driver name %s not found in the list of registered CSI drivers: its pod on node %s must run and register in %s",
		name, d.cfg.Node, d.cfg.Home.There(d.cfg.Home.registry()))
}

// Node returns what the registered drivers say of this node: its CSINode, with the
// name alone as metadata, and the labels of its topology.
func (d *Drivers) Node() (*storagev1.CSINode, map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, topology := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: d.cfg.Node}}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(d.drivers)) {
		info := d.drivers[name].info
		one := storagev1.CSINodeDriver{Name: name, NodeID: info.NodeId}
		for _, key := range slices.Sorted(maps.Keys(info.GetAccessibleTopology().GetSegments())) {
			one.TopologyKeys = append(one.TopologyKeys, key)
			topology[key] = info.AccessibleTopology.Segments[key]
		}
		if count := info.MaxVolumesPerNode; count > 0 {
			n32 := int32(min(count, math.MaxInt32))
			one.Allocatable = &storagev1.VolumeNodeResources{Count: &n32}
		}
		n.Spec.Drivers = append(n.Spec.Drivers, one)
	}
	return n, topology
}

// busy is a volume that calls are made on, and how many wait for it.
type busy struct {
	sync.Mutex
	users int
}

// hold waits until no other call is made on the volume.
func (d *Drivers) hold(volume string) (release func()) {
	d.mu.Lock()
	b := d.volumes[volume]
	if b == nil {
		b = &busy{}
		d.volumes[volume] = b
	}
	b.users++
	d.mu.Unlock()
	b.Lock()
	return func() {
		b.Unlock()
		d.mu.Lock()
		defer d.mu.Unlock()
		if b.users--; b.users == 0 {
			delete(d.volumes, volume)
		}
	}
}
