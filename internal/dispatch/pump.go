package dispatch

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// carried are the tables that sessions carry.
var carried = []*store.Table[store.Object, any]{
	tables.Pods.Any(), tables.Secrets.Any(), tables.ConfigMaps.Any(), tables.ServiceAccounts.Any(),
	tables.Services.Any(), tables.EndpointSlices.Any(), tables.Nodes.Any(), tables.ClusterTrustBundles.Any(), tables.RuntimeClasses.Any(),
	tables.PersistentVolumeClaims.Any(), tables.PersistentVolumes.Any(), tables.CustomObjects.Any(),
	tables.NetworkPolicies.Any(), tables.PeerGroups.Any(), tables.Routes.Any(), tables.NetworkMembers.Any(),
	tables.CSIDrivers.Any(), tables.VolumeAttachments.Any(),
	tables.MesosTasks.Any(),
}

var carriedByID = func() map[store.TableID]*store.Table[store.Object, any] {
	m := map[store.TableID]*store.Table[store.Object, any]{}
	for _, t := range carried {
		m[t.ID()] = t
	}
	return m
}()

// wholeTables are the tables a node may have whole: no secrets among them, but with
// the routes come those of their certificates.
var wholeTables = []store.TableID{tables.Services.ID(), tables.EndpointSlices.ID(), tables.Nodes.ID(), tables.ClusterTrustBundles.ID(), tables.RuntimeClasses.ID(), tables.CSIDrivers.ID(), tables.Routes.ID()}

// pump marks a table's committed changes in the sessions they concern. Sessions
// are woken when all that is committed is marked, so that many changes that were
// committed together leave in one message.
func (d *Dispatcher) pump(ctx context.Context, t *store.Table[store.Object, any]) error {
	touched := map[*session]struct{}{}
	for {
		snap := d.store.Snapshot()
		from, last := snap.TableRev(t), t.Rev(snap)
		d.markAll()
		for e, err := range d.store.Events(ctx, from, t) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if kind.Is(err, kind.Gone) {
				break // too slow: start over with full sets
			}
			if err != nil {
				return err
			}
			d.concern(e, touched)
			if e.Rev > last {
				last = t.Rev(d.store.Snapshot())
			}
			if e.Rev >= last {
				for s := range touched {
					s.signal()
				}
				clear(touched)
			}
		}
	}
}

// markAll makes every session send a full set.
func (d *Dispatcher) markAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.own) // what is lost of the history may be of these
	for _, s := range d.sessions {
		s.markAll()
	}
}

// concern marks the event's row in the sessions it concerns.
func (d *Dispatcher) concern(e *store.Event, touched map[*session]struct{}) {
	i := item{e.Table(), e.Key().String()}
	var nodes map[string]bool
	if i.table == tables.NetworkPolicies.ID() && e.Type() != store.Deleted { // by its table: a pod is not decoded for this
		nodes = d.nodesOf(e.Object().(*networkingv1.NetworkPolicy))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	mark := func(s *session) {
		s.mark(i)
		touched[s] = struct{}{}
	}
	if head, ok := e.Head().(*tables.PodHead); ok {
		if _, own := d.own[head]; own && e.Type() == store.Changed {
			delete(d.own, head)
			return // the agent said it itself
		}
		if s := d.sessions[head.Node]; s != nil {
			mark(s)
		}
		if old, ok := e.OldHead().(*tables.PodHead); ok && old.Node != head.Node && d.sessions[old.Node] != nil {
			mark(d.sessions[old.Node])
		}
		return
	}
	if i.table == tables.PersistentVolumes.ID() {
		for _, o := range []store.Object{e.Object(), e.Old()} {
			if v, ok := o.(*corev1.PersistentVolume); ok && d.sessions[claim.LocalNode(v)] != nil {
				mark(d.sessions[claim.LocalNode(v)])
			}
		}
	}
	if i.table == tables.VolumeAttachments.ID() {
		if node := e.Object().(*storagev1.VolumeAttachment).Spec.NodeName; d.sessions[node] != nil {
			mark(d.sessions[node]) // it does not change
		}
	}
	if i.table == tables.CustomObjects.ID() {
		for _, node := range placedNodes(e) {
			if s := d.sessions[node]; s != nil {
				mark(s)
			}
		}
	}
	if i.table == tables.MesosTasks.ID() {
		for _, node := range orderNodes(e) {
			if s := d.sessions[node]; s != nil {
				mark(s)
			}
		}
	}
	for node := range nodes {
		if s := d.sessions[node]; s != nil {
			mark(s)
		}
	}
	group := i
	if i.table == tables.PeerGroups.ID() || i.table == tables.NetworkMembers.ID() {
		group = item{i.table, e.Key().Namespace}
	}
	for s := range d.refs[group] {
		mark(s)
	}
	for s := range d.wants[i.table] {
		mark(s)
	}
}

func (d *Dispatcher) needRef(s *session, r item) {
	d.mu.Lock()
	defer d.mu.Unlock()
	add(d.refs, r, s)
}

func (d *Dispatcher) dropRef(s *session, r item) {
	d.mu.Lock()
	defer d.mu.Unlock()
	remove(d.refs, r, s)
}

func (d *Dispatcher) dropRefs(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for r := range s.refs {
		remove(d.refs, r, s)
	}
}

// references returns what a pod's containers and volumes refer to: each once.
func references(p *corev1.Pod) []item {
	var refs []item
	seen := map[item]bool{}
	object.References(p, func(r object.Reference) {
		t := store.TableID(r.Resource)
		i := item{t, p.Namespace + "/" + r.Name}
		if slices.Contains(referred, t) && !seen[i] {
			seen[i] = true
			refs = append(refs, i)
		}
	})
	return append(refs, networkItems(p)...)
}

// referred are the tables whose objects go to the nodes of the pods that name them.
var referred = []store.TableID{tables.ServiceAccounts.ID(), tables.Secrets.ID(), tables.ConfigMaps.ID(), tables.PersistentVolumeClaims.ID()}
