package operator

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/api/caller"
	mesosres "trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// view is one look at the tables, as one caller may see it.
type view struct {
	cfg  *Config
	snap *store.Snapshot
	*rights

	id         string // the master's
	agents     []*agent
	byNode     map[string]*agent
	frameworks []*framework
	byID       map[string]*framework
	filters    map[string]int // offers that are refused for a while, by role
}

// agent is a node as Mesos knows it. Resources that nobody may see the user of are in
// used all the same.
type agent struct {
	*mesos.Agent
	node    *corev1.Node // nil: it was deleted
	total   mesosres.List
	used    mesosres.List // by tasks, their executors and other pods, each allocated to its role
	offered mesosres.List
	tasks   int // that are not over and acknowledged
}

// framework is one with what it has.
type framework struct {
	*mesos.Framework
	tasks     []*mesos.Task // by id
	executors []executor
	offers    []*mesos.Offer // lent
	inverse   []*mesos.Offer
	used      mesosres.List
	offered   mesosres.List
}

type executor struct {
	info *mesosv1.ExecutorInfo
	node string
	id   string // the agent's
	role string
}

func (s *Server) rights(r *Request) *rights {
	return &rights{caller.New(r.Who.User, s.rules), map[string]bool{}}
}

// look reads the committed tables for the one who asks.
func (s *Server) look(r *Request) *view {
	v := &view{cfg: &s.cfg, snap: s.cfg.Store.Snapshot(), rights: s.rights(r), byNode: map[string]*agent{}, byID: map[string]*framework{}, filters: map[string]int{}}
	if system, ok := tables.Namespaces.Get(v.snap, object.Key{Name: metav1.NamespaceSystem}); ok {
		v.id = mesos.MasterID(system)
	}
	for a := range tables.MesosAgents(v.snap) {
		one := &agent{Agent: a}
		one.node, _ = tables.Nodes.Get(v.snap, object.Key{Name: a.Name})
		one.total = mesos.Total(one.node, a)
		v.agents, v.byNode[a.Name] = append(v.agents, one), one
	}
	for f := range tables.MesosFrameworks(v.snap) {
		one := &framework{Framework: f}
		v.frameworks, v.byID[f.Spec.ID] = append(v.frameworks, one), one
	}
	v.addTasks()
	v.addPods()
	v.addOffers()
	// What may not be seen is counted, and not shown.
	v.agents = slices.DeleteFunc(v.agents, func(a *agent) bool { return !v.agent(a.Name) })
	v.frameworks = slices.DeleteFunc(v.frameworks, func(f *framework) bool { return !v.framework(f.Spec.ID) })
	return v
}

func (v *view) addTasks() {
	counted := map[string]bool{} // executors
	frameworks, agents := map[*framework]*sum{}, map[*agent]*sum{}
	for t := range tables.MesosTasks.All(v.snap) {
		f, a := v.byID[t.Namespace], v.byNode[t.Node]
		if f != nil && v.role(t.Role) {
			f.tasks = append(f.tasks, t)
		}
		if a != nil && t.Completed == nil {
			a.tasks++
		}
		if !t.Holds() {
			continue
		}
		lists := [2][]*mesosv1.Resource{t.Info.GetResources()}
		if t.Executor != nil {
			if key := tables.MesosExecutor(t.Namespace, t.ExecutorID(), t.Node); !counted[key] {
				counted[key], lists[1] = true, t.Executor.GetResources()
				if f != nil && v.role(t.Role) {
					f.executors = append(f.executors, executor{t.Executor, t.Node, t.Agent, t.Role})
				}
			}
		}
		for _, all := range lists {
			sumOf(frameworks, f).add(t.Role, all)
			sumOf(agents, a).add(t.Role, all)
		}
	}
	for f, s := range frameworks {
		if f != nil {
			f.used = s.list()
		}
	}
	for a, s := range agents {
		if a != nil {
			a.used = s.list()
		}
	}
}

func sumOf[K comparable](sums map[K]*sum, of K) *sum {
	if sums[of] == nil {
		sums[of] = &sum{}
	}
	return sums[of]
}

// addPods counts what pods use that are no tasks, each for the role that its
// namespace is.
func (v *view) addPods() {
	roles := map[string]string{}
	for ns := range tables.Namespaces.All(v.snap) {
		roles[ns.Name] = mesos.Role(ns)
	}
	for _, a := range v.agents {
		for row := range tables.Pods.By(v.snap, tables.PodsByNode, a.Name) {
			h := row.Head()
			if h.Ended() || h.Labels[mesos.FrameworkLabel] != "" {
				continue
			}
			role := cmp.Or(roles[row.Key().Namespace], row.Key().Namespace)
			a.used = a.used.Plus(mesosres.Capacity(demanded(&h.Demand)).AllocatedTo(role))
		}
	}
}

// demanded is what a pod takes of its node as a list of Kubernetes' names.
func demanded(d *object.Demand) corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewMilliQuantity(d.CPUMilli, resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(d.MemoryBytes, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(d.EphemeralBytes, resource.BinarySI),
	}
	for name, n := range d.Extended {
		list[name] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	return list
}

func (v *view) addOffers() {
	for o := range tables.MesosOffers.All(v.snap) {
		f, a := v.byID[o.Framework], v.byNode[o.Node]
		switch {
		case o.Inverse && f != nil:
			f.inverse = append(f.inverse, o)
		case o.Inverse:
		case o.Refused:
			v.filters[o.Role]++
		default:
			of := listOf(o.Role, o.Resources)
			if f != nil {
				f.offers, f.offered = append(f.offers, o), f.offered.Plus(of)
			}
			if a != nil {
				a.offered = a.offered.Plus(of)
			}
		}
	}
}

// listOf reads resources that were checked when they came, as the role's.
func listOf(role string, all []*mesosv1.Resource) mesosres.List {
	l, err := mesosres.From("resources", all)
	if err != nil {
		return nil // not in a row that a loop of ours has put
	}
	return l.AllocatedTo(role)
}

// plain is the list without whose it is.
func plain(l mesosres.List) mesosres.List { return l.AllocatedTo("") }

// reachable reports whether the agent answers.
func (a *agent) reachable() bool { return a.Status.Unreachable == nil && !a.Spec.Gone && a.node != nil }

// active reports whether the agent is offered.
func (a *agent) active() bool { return a.reachable() && !a.Spec.Deactivated && !a.Spec.Down }

// address is where the agent is reached, empty where nobody knows.
func (a *agent) address() string {
	if a.node == nil {
		return ""
	}
	return mesos.Address(a.node)
}

func (a *agent) pid() string {
	at, err := netip.ParseAddr(a.address())
	if err != nil {
		at = netip.IPv4Unspecified()
	}
	return "slave(1)@" + netip.AddrPortFrom(at, mesos.AgentPort).String()
}

// is reports whether a machine of the maintenance calls is this agent's.
func (a *agent) is(m *mesosv1.MachineID) bool {
	host, ip := m.GetHostname(), m.GetIp()
	return (host == "" || strings.EqualFold(host, a.Name)) && (ip == "" || ip == a.address()) && (host != "" || ip != "")
}

func (a *agent) machine() *mesosv1.MachineID {
	name, ip := a.Name, a.address()
	m := &mesosv1.MachineID{Hostname: &name}
	if ip != "" {
		m.Ip = &ip
	}
	return m
}

// find returns the agent of an id.
func (v *view) find(id string) *agent {
	for _, a := range v.agents {
		if a.Status.ID == id {
			return a
		}
	}
	return nil
}
