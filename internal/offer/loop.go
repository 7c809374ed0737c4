package offer

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/loop"
	"trireme/internal/mesos/resource"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/share"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Name is what the loop is called.
const Name = "offer/offers"

// LoopConfig configures the loop. The zero value is useful.
type LoopConfig struct {
	// Timeout is after how long an offer that is not answered is rescinded. Zero: 60 s.
	Timeout time.Duration
	// Interval is how often all agents are looked at where somebody got less than there was, and how
	// long what came back unasked waits. Zero: 1 s (Mesos, --allocation_interval).
	Interval time.Duration
}

// Loop is offer/offers.
type Loop struct {
	cfg    LoopConfig
	last   int64     // number of the last offer
	cycled time.Time // when all agents were looked at last
	*world
}

// world is what the loop keeps between steps; all of it can be made again from the tables.
type world struct {
	engine     *Engine
	frameworks map[string]*mesos.Framework // that can be offered to, by id
	ids        map[string]string           // of frameworks, by the names of their objects
	nodes      map[string]*node
	uses       map[object.Key]*use
	paths      map[string]string // of namespaces
	touched    map[string]bool   // nodes to count again
	inverse    map[string]bool   // nodes that are to be unavailable, or of which inverse offers are made
	borrows    bool              // somebody takes revocable resources
	deadlines  deadlines
	master     string
}

// New returns the loop.
func NewLoop(cfg LoopConfig) *Loop {
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	return &Loop{cfg: cfg}
}

var _ loop.Reconciler = (*Loop)(nil)

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return Name }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{
		tables.MesosOffers.ID(), tables.MesosTasks.ID(), tables.CustomObjects.ID(), tables.Nodes.ID(), tables.Pods.ID(), tables.Namespaces.ID(), tables.PodSamples.ID(),
	}
}

func (l *Loop) Writes() []store.TableID { return []store.TableID{tables.MesosOffers.ID()} }

// Reconcile takes in what changed, takes back what cannot be lent any more, and lends what is free.
// Where there is no framework it keeps nothing and does nothing.
func (l *Loop) Reconcile(tx *store.Tx) (time.Time, error) {
	if l.world == nil || tx.FullPass() || l.unsettled(tx) {
		l.world = nil
		if !anybody(tx) {
			return time.Time{}, nil
		}
		l.start(tx)
	} else {
		l.takeIn(tx)
	}
	l.recount(tx)
	l.expire(tx)
	l.ask(tx)
	return l.lend(tx), nil
}

// anybody reports whether there is anything to look after.
func anybody(tx *store.Tx) bool {
	for f := range tables.MesosFrameworks(tx) {
		if f.Status.Removed == nil {
			return true
		}
	}
	return tables.MesosOffers.Len(tx) > 0
}

// unsettled reports whether the tree of tenants is another: all has to be counted again.
func (l *Loop) unsettled(tx *store.Tx) bool {
	for key := range tables.CustomObjects.Changed(tx) {
		if _, ok := tables.IsTenant(key); ok {
			return true
		}
	}
	for key := range tables.Namespaces.Changed(tx) {
		if was, ok := l.paths[key.Name]; ok && was != tables.TenantPath(tx, key.Name) {
			return true
		}
	}
	return false
}

// start counts everything.
func (l *Loop) start(tx *store.Tx) {
	l.world = &world{
		frameworks: map[string]*mesos.Framework{}, ids: map[string]string{}, nodes: map[string]*node{}, uses: map[object.Key]*use{},
		paths: map[string]string{}, touched: map[string]bool{}, inverse: map[string]bool{},
	}
	if system, ok := tables.Namespaces.Get(tx, object.Key{Name: "kube-system"}); ok {
		l.master = mesos.MasterID(system)
	}
	l.engine = New(Config{Tenants: tenants(tx), Path: rolePath(tx), Region: region(tx)})
	for n := range tables.Nodes.All(tx) {
		l.setNode(tx, n.Name)
	}
	for a := range tables.MesosAgents(tx) {
		l.setNode(tx, a.Name)
	}
	for row := range tables.Pods.Rows(tx, "") {
		l.setPod(tx, row.Key(), row.Head())
	}
	for f := range tables.MesosFrameworks(tx) {
		l.setFramework(tx, f.Name, f)
	}
	l.lends()
	l.recount(tx)
	for o := range tables.MesosOffers.All(tx) {
		l.setOffer(tx, o.Name, o)
	}
}

// rolePath returns where roles stand, as the Tenants say now: they do not change while the engine
// lives.
func rolePath(tx *store.Tx) func(string) string {
	moved := map[string]string{}
	for t := range tables.Tenants(tx) {
		if t.Spec.Path != "" {
			moved[t.Name] = t.Spec.Path
		}
	}
	return func(role string) string {
		if path, ok := moved[mesos.Namespace(role)]; ok {
			return path
		}
		return role
	}
}

// tenants returns what is set for the tree.
func tenants(r store.Reader) (out []Tenant) {
	for t := range tables.Tenants(r) {
		out = append(out, Tenant{
			Path: tables.TenantPath(r, t.Name), Weight: t.Weight(), Guarantee: boundsOf(t.Spec.Guarantee), Limit: boundsOf(t.Spec.Limit),
		})
	}
	return out
}

func boundsOf(list corev1.ResourceList) Bounds {
	var out Bounds
	for name, q := range list {
		if r, ok := resource.Read(name, &q); ok {
			if out == nil {
				out = Bounds{}
			}
			out[r.Name] = r.Scalar
		}
	}
	return out
}

// region returns the region of the cluster: that of its managers, by the first node by name that
// says it.
func region(r store.Reader) string {
	for n := range tables.Nodes.All(r) {
		if _, manager := n.Labels[managerLabel]; manager && n.Labels[corev1.LabelTopologyRegion] != "" {
			return n.Labels[corev1.LabelTopologyRegion]
		}
	}
	return ""
}

const managerLabel = "node-role.kubernetes.io/control-plane"

// takeIn brings the world up to the tables.
func (l *Loop) takeIn(tx *store.Tx) {
	for key := range tables.Nodes.Changed(tx) {
		l.setNode(tx, key.Name)
	}
	for key := range tables.Pods.Changed(tx) {
		if row, ok := tables.Pods.Row(tx, key); ok {
			l.setPod(tx, key, row.Head())
		} else {
			l.setPod(tx, key, nil)
		}
	}
	for key := range tables.CustomObjects.Changed(tx) {
		switch plural, name, ok := tables.IsMesos(key); {
		case !ok:
		case plural == mesos.Agents.Resource:
			l.setNode(tx, name)
		default:
			l.setFramework(tx, name, frameworkAt(tx, key))
		}
	}
	for key := range tables.MesosTasks.Changed(tx) {
		t, ok := tables.MesosTasks.Get(tx, key)
		if !ok {
			continue // it holds nothing: its pod is gone before it
		}
		if n := l.nodes[t.Node]; n != nil && n.held[key] != t.Holds() {
			l.touched[t.Node] = true
		}
	}
	for key := range tables.MesosOffers.Changed(tx) {
		o, _ := tables.MesosOffers.Get(tx, key)
		l.setOffer(tx, key.Name, o)
	}
	l.measure(tx)
}

func (l *Loop) node(name string) *node {
	n := l.nodes[name]
	if n == nil {
		n = &node{name: name, pods: map[object.Key]*use{}, held: map[object.Key]bool{}}
		n.Ports = map[object.HostPort]int{}
		l.nodes[name] = n
	}
	return n
}

// setNode takes in the rows of a node and its agent.
func (l *Loop) setNode(tx *store.Tx, name string) {
	n := l.node(name)
	n.row, _ = tables.Nodes.Get(tx, object.Key{Name: name})
	n.agent, _ = tables.MesosAgent(tx, name)
	n.stale, l.touched[name] = true, true
}

// setPod takes in a pod; nil head: it is gone.
func (l *Loop) setPod(tx *store.Tx, key object.Key, h *tables.PodHead) {
	old := l.uses[key]
	on := nodeOf(tx, key, h)
	holds := on != "" && !h.Ended()
	if old != nil && (!holds || old.uid != h.UID || !old.demand.Equal(h.Demand)) {
		old.node.Count(old.demand, old.ports, -1)
		l.engine.Charge(old.framework, old.path, old.demand, -1)
		delete(old.node.pods, key)
		delete(l.uses, key)
		l.touched[old.node.name] = true
		old = nil
	}
	if !holds || old != nil {
		return
	}
	u := &use{uid: h.UID, node: l.node(on), framework: h.Labels[mesos.FrameworkLabel], path: l.path(tx, key.Namespace), demand: h.Demand}
	u.borrowed = u.framework != "" && h.Labels[mesos.RevocableLabel] != ""
	if h.HostPorts {
		p, _ := tables.Pods.Get(tx, key)
		u.ports = object.HostPorts(p)
	}
	u.node.Count(u.demand, u.ports, 1)
	l.engine.Charge(u.framework, u.path, u.demand, 1)
	u.node.pods[key], l.uses[key] = u, u
	l.touched[on] = true
}

// nodeOf returns the node that a pod is on. One of an offer that was accepted counts there as
// soon as it is made: the scheduler, which comes after, is not to find its room lent again.
func nodeOf(tx *store.Tx, key object.Key, h *tables.PodHead) string {
	switch {
	case h == nil:
		return ""
	case h.Node != "" || h.Labels[mesos.FrameworkLabel] == "":
		return h.Node
	}
	p, ok := tables.Pods.Get(tx, key)
	if !ok {
		return ""
	}
	return mesos.PinnedNode(p)
}

// path returns where a namespace stands in the tree.
func (l *Loop) path(tx *store.Tx, namespace string) string {
	path, ok := l.paths[namespace]
	if !ok {
		path = tables.TenantPath(tx, namespace)
		l.paths[namespace] = path
	}
	return path
}

// setFramework takes in a framework by the name of its object; nil: it is gone.
func (l *Loop) setFramework(tx *store.Tx, name string, f *mesos.Framework) {
	if f != nil && f.Active() {
		l.ids[name], l.frameworks[f.Spec.ID] = f.Spec.ID, f
		l.engine.SetFramework(frameworkOf(f))
		for row := range tables.MesosOffers.By(tx, tables.MesosByFramework, f.Spec.ID) {
			if o := row.Object(); !o.Inverse && !slices.Contains(f.Roles(), o.Role) {
				l.takeBack(tx, o.Name)
			}
		}
		return
	}
	id, ok := l.ids[name]
	if !ok {
		return
	}
	delete(l.ids, name)
	delete(l.frameworks, id)
	for row := range tables.MesosOffers.By(tx, tables.MesosByFramework, id) {
		l.takeBack(tx, row.Key().Name)
	}
	l.engine.RemoveFramework(id)
}

// frameworkAt returns the framework at a key of CustomObjects; nil: there is none.
func frameworkAt(r store.Reader, key object.Key) *mesos.Framework {
	row, ok := tables.CustomObjects.Row(r, key)
	if !ok {
		return nil
	}
	f, err := mesos.FrameworkFrom(row.Object())
	if err != nil {
		return nil
	}
	return f
}

// frameworkOf reads what the engine wants to know. What cannot be read the door has refused.
func frameworkOf(f *mesos.Framework) Framework {
	out := Framework{ID: f.Spec.ID, Roles: f.Roles(), Suppressed: f.Spec.Suppressed, Min: map[string]Min{}}
	out.GPU, out.Shared, out.Revocable = f.Has(gpuCap), f.Has(sharedCap), f.Has(revocableCap)
	out.Refinement, out.RegionAware = f.Has(refinementCap), f.Has(regionCap)
	out.Constraints, _ = ConstraintsOf(f.Spec.Constraints.M)
	for role, filters := range f.Spec.Info.M.GetOfferFilters() {
		if m, err := MinOf(filters); err == nil && m != nil {
			out.Min[role] = m
		}
	}
	return out
}

// setOffer takes in an offer; nil: it is gone.
func (l *Loop) setOffer(tx *store.Tx, id string, o *mesos.Offer) {
	if o == nil {
		l.engine.RemoveLent(id)
		return
	}
	if l.frameworks[o.Framework] == nil {
		l.takeBack(tx, id)
		return
	}
	due := o.Until
	if !o.Refused {
		due = o.Made.Add(l.cfg.Timeout)
	}
	l.deadlines.at(due, id)
	if o.Inverse {
		l.inverse[o.Node] = true
		return
	}
	list, err := resource.From("resources", o.Resources)
	if err != nil {
		l.takeBack(tx, id)
		return
	}
	l.engine.SetLent(Lent{ID: id, Framework: o.Framework, Role: o.Role, Node: o.Node, List: list.AllocatedTo(""), Refused: o.Refused})
}

// takeBack rescinds an offer, or forgets a refusal.
func (l *Loop) takeBack(tx *store.Tx, id string) {
	l.engine.RemoveLent(id)
	tables.MesosOffers.Delete(tx, object.Key{Name: id})
}

// recount tells the engine what is free of the nodes that changed.
func (l *Loop) recount(tx *store.Tx) {
	for _, name := range sorted(l.touched) {
		n := l.nodes[name]
		delete(l.touched, name)
		for _, id := range l.count(tx, n) {
			l.takeBack(tx, id)
		}
	}
}

func (l *Loop) count(tx *store.Tx, n *node) (over []string) {
	if n.row == nil || n.agent == nil || n.agent.Status.ID == "" {
		over = l.engine.RemoveAgent(n.name)
		if n.row == nil && n.agent == nil && len(n.pods) == 0 {
			delete(l.nodes, n.name)
		}
		return over
	}
	if n.stale {
		l.renew(tx, n)
	}
	l.spare(tx, n)
	var tasks []*mesos.Task
	clear(n.held)
	for row := range tables.MesosTasks.By(tx, tables.MesosByNode, n.name) {
		if t := row.Object(); t.Holds() {
			tasks = append(tasks, t)
			n.held[row.Key()] = true
		}
	}
	return l.engine.SetAgent(Agent{
		Node: n.name, ID: n.agent.Status.ID, Total: n.total, Free: n.free(tasks), Closed: n.closed(), Hostname: n.name,
		Region: n.row.Labels[corev1.LabelTopologyRegion], Zone: n.row.Labels[corev1.LabelTopologyZone],
		Attributes: mesos.Attributes(n.row, n.agent), Unavailability: n.agent.Spec.Unavailability.M,
	})
}

// renew counts what a node has. Where that is something else than before, nobody is held to have
// refused it, and offers that tell of another time of maintenance are rescinded.
func (l *Loop) renew(tx *store.Tx, n *node) {
	n.stale = false
	if n.agent.Spec.Unavailability.M != nil {
		l.inverse[n.name] = true
	}
	total := mesos.Total(n.row, n.agent)
	n.Has(n.row)
	n.Can = share.Plus(n.Can, mesos.Beside(n.row, n.agent), 1)
	changed := !total.Equal(n.total)
	n.total = total
	for row := range tables.MesosOffers.By(tx, tables.MesosByNode, n.name) {
		o := row.Object()
		if moved := !sameTime(o.Unavailability, n.agent.Spec.Unavailability.M); moved || changed && o.Refused && !o.Inverse {
			l.takeBack(tx, o.Name)
		}
	}
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
