package wire

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/floating"
	"trireme/internal/object/mesos"
	"trireme/internal/object/network"
	"trireme/internal/object/peers"
	"trireme/internal/object/route"
	"trireme/internal/object/snapshot"
)

// ReportPod reports the pod's status. The newest wins; it is sent again after a
// reconnect until the pod is deleted or replaced.
func (c *Client) ReportPod(s PodReport) {
	r := &PodState{Namespace: s.Key.Namespace, Name: s.Key.Name, Uid: string(s.UID), Gone: s.Gone}
	if s.Status != nil {
		r.Status = mustMarshal(s.Status)
	}
	c.mu.Lock()
	c.reports[s.UID] = r
	c.dirty[s.UID] = true
	c.mu.Unlock()
	c.signal()
}

// ReportNode reports the node's status where it changed. After a reconnect the
// hello carries it.
func (c *Client) ReportNode(s *corev1.NodeStatus) {
	b := mustMarshal(s)
	c.mu.Lock()
	c.node = b
	c.mu.Unlock()
	c.signal()
}

// Announce says the hello again: the node's labels or annotations are others.
func (c *Client) Announce() {
	c.mu.Lock()
	c.helloNew = true
	c.mu.Unlock()
	c.signal()
}

// ReportEvent reports an event. Where more than 1,000 wait the oldest is dropped.
func (c *Client) ReportEvent(e *corev1.Event) {
	b := mustMarshal(e)
	c.mu.Lock()
	if len(c.events) == eventsMax {
		c.events = append(c.events[:0], c.events[1:]...)
	}
	c.events = append(c.events, b)
	c.mu.Unlock()
	c.signal()
}

// ReportMirrors reports the rows that should stand for this node's static pods, all of
// them. It is sent again after a reconnect.
func (c *Client) ReportMirrors(pods []*corev1.Pod) {
	m := &Mirrors{}
	for _, p := range pods {
		m.Pods = append(m.Pods, mustMarshal(p))
	}
	c.mu.Lock()
	c.mirrors, c.mirrorsNew = m, true
	c.mu.Unlock()
	c.signal()
}

// NodeStorage is what the CSI drivers on a node say of it: all of them, the labels of the
// node's topology, and the bytes of volumes by the names of their PersistentVolumes.
type NodeStorage struct {
	CSINode  *storagev1.CSINode
	Topology map[string]string
	Sizes    map[string]int64
	// Infeasible are sizes that drivers will not give volumes here, by the same names.
	Infeasible map[string]*Infeasible
}

// ReportStorage reports what drivers say of this node. It is sent again after a
// reconnect.
func (c *Client) ReportStorage(n NodeStorage) {
	s := &Storage{CsiNode: mustMarshal(n.CSINode), Topology: n.Topology, Sizes: n.Sizes, Infeasible: n.Infeasible}
	c.mu.Lock()
	c.storage, c.storageNew = s, true
	c.mu.Unlock()
	c.signal()
}

// ReportSnapshots reports how this node's snapshots stand, all of them by the names of their
// VolumeSnapshotContents. It is sent again after a reconnect.
func (c *Client) ReportSnapshots(states map[string]*SnapshotState) {
	c.mu.Lock()
	c.snapshots, c.snapshotsNew = &Snapshots{States: states}, true
	c.mu.Unlock()
	c.signal()
}

func (c *Client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func mustMarshal(m interface{ Marshal() ([]byte, error) }) []byte {
	b, err := m.Marshal()
	if err != nil {
		panic(fmt.Sprintf("wire: encoding %T: %v", m, err)) // API types always encode
	}
	return b
}

// send sends reports as they come, gathered for a moment, and a heartbeat where
// there is nothing to say. It returns when the stream or ctx ends.
func (c *Client) send(ctx context.Context, s stream) {
	timer := time.NewTimer(time.Duration(c.heartbeat.Load()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
			select {
			case <-time.After(batchDelay):
			case <-ctx.Done():
				return
			}
		}
		for sent := false; ; sent = true {
			r, more := c.takeReport()
			if r == nil && sent {
				break
			}
			if r == nil {
				r = &Report{} // a heartbeat
			}
			if s.Send(r) != nil {
				return // receive learns why
			}
			if !more {
				break
			}
		}
		timer.Reset(time.Duration(c.heartbeat.Load()))
	}
}

// takeReport takes what waits, nil where nothing does. more: some was left.
func (c *Client) takeReport() (r *Report, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.synced || (len(c.dirty) == 0 && c.node == nil && len(c.events) == 0 && !c.mirrorsNew && !c.storageNew && !c.snapshotsNew && !c.helloNew && !c.tasks.waits()) {
		return nil, false
	}
	r = &Report{NodeStatus: c.node, Events: c.events}
	if c.helloNew {
		r.Hello, c.helloNew = &Hello{Node: mustMarshal(c.cfg.Node())}, false
	}
	c.node, c.events = nil, nil
	if c.mirrorsNew {
		r.Mirrors, c.mirrorsNew = c.mirrors, false
	}
	if c.storageNew {
		r.Storage, c.storageNew = c.storage, false
	}
	if c.snapshotsNew {
		r.Snapshots, c.snapshotsNew = c.snapshots, false
	}
	more = c.tasks.take(r)
	for uid := range c.dirty {
		if len(r.Pods) == batchPodsMax {
			return r, true
		}
		p := c.reports[uid]
		r.Pods = append(r.Pods, p)
		delete(c.dirty, uid)
		if c.assigned[object.Key{Namespace: p.Namespace, Name: p.Name}] != uid {
			delete(c.reports, uid) // nobody asks for it: said once is enough
		}
	}
	return r, more
}

// Message is an object that travels: an API type with its protobuf encoding, one of
// our own kinds with its JSON.
type Message interface {
	runtime.Object
	metav1.Object
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// NewMessage returns an empty object of a table that sessions carry, nil for others.
func NewMessage(table string) Message {
	switch table {
	case "pods":
		return &corev1.Pod{}
	case "secrets":
		return &corev1.Secret{}
	case "configmaps":
		return &corev1.ConfigMap{}
	case "serviceaccounts":
		return &corev1.ServiceAccount{}
	case "services":
		return &corev1.Service{}
	case "endpointslices", network.MembersTable:
		return &discoveryv1.EndpointSlice{}
	case "nodes":
		return &corev1.Node{}
	case "persistentvolumeclaims":
		return &corev1.PersistentVolumeClaim{}
	case "persistentvolumes":
		return &corev1.PersistentVolume{}
	case "csidrivers":
		return &storagev1.CSIDriver{}
	case "volumeattachments":
		return &storagev1.VolumeAttachment{}
	case "runtimeclasses":
		return &nodev1.RuntimeClass{}
	case "clustertrustbundles":
		return &certificatesv1.ClusterTrustBundle{}
	case "networkpolicies":
		return &networkingv1.NetworkPolicy{}
	case "peergroups":
		return &peers.Part{}
	case mesos.OrdersTable:
		return &mesos.Order{}
	case route.TableName:
		return &route.Part{}
	case floating.Table:
		return &floating.IP{}
	case snapshot.Table:
		return &snapshot.Content{}
	case network.Table:
		return &network.Network{}
	}
	return nil
}

// NewAssignment encodes nothing: it names an object whose encoding (Message) is
// raw, or with a nil raw its going.
func NewAssignment(table string, key object.Key, raw []byte) *Assignment {
	return &Assignment{Table: table, Key: key.String(), Object: raw, Deleted: raw == nil}
}

func decodeItem(i *Assignment) (Item, error) {
	item := Item{Table: i.Table, Key: object.ParseKey(i.Key), Deleted: i.Deleted}
	if i.Deleted {
		return item, nil
	}
	o := NewMessage(i.Table)
	if o == nil {
		return item, kind.New(kind.Malformed, "an assignment of an unknown table %q", i.Table)
	}
	if err := o.Unmarshal(i.Object); err != nil {
		return item, fmt.Errorf("decoding %s %s: %w", i.Table, i.Key, err)
	}
	item.Object = o
	return item, nil
}

var errNoSession = kind.New(kind.Unavailable, "no session with a manager is open")

// Certificate asks the manager of the open session for a certificate of a pod;
// kind.Unavailable where no session is open.
func (c *Client) Certificate(ctx context.Context, r *CertificateRequest) (*CertificateResponse, error) {
	conn := c.manager.Load()
	if conn == nil {
		return nil, errNoSession
	}
	return NewAgentsClient(conn).Certificate(ctx, r)
}

// Token asks the manager of the open session for a token of a pod's service
// account; kind.Unavailable where no session is open.
func (c *Client) Token(ctx context.Context, r *TokenRequest) (*TokenResponse, error) {
	conn := c.manager.Load()
	if conn == nil {
		return nil, errNoSession
	}
	return NewAgentsClient(conn).Token(ctx, r)
}
