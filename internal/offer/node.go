package offer

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/schedule/room"
)

// node is what the loop knows of one: its row, its agent's, and the account of what pods take.
type node struct {
	name  string
	row   *corev1.Node // nil: there is none
	agent *mesos.Agent // nil: there is none
	room.Room
	pods map[object.Key]*use
	held map[object.Key]bool // the tasks that held something when it was counted

	total resource.List // what it has, by reservation; of row and agent
	stale bool          // total is that of another row
	spare resource.List // what pods have asked for and do not use: revocable
}

// use is a pod that has a node.
type use struct {
	uid       types.UID
	node      *node
	framework string // name of the Framework; empty: none
	path      string // of its tenant
	demand    object.Demand
	ports     []object.HostPort
	borrowed  bool // what it runs on is what others do not use
}

// closed reports whether the node is not offered.
func (n *node) closed() bool {
	a := n.agent
	if a.Spec.Deactivated || a.Spec.Down || a.Spec.Gone || a.Spec.Drain != nil || a.Status.Unreachable != nil {
		return true
	}
	if !object.NodeReady(n.row) || n.row.Spec.Unschedulable || n.row.DeletionTimestamp != nil || n.Pods >= n.CanPods {
		return true
	}
	return slices.ContainsFunc(n.row.Spec.Taints, func(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectPreferNoSchedule })
}

// free returns what no pod has of the node. tasks are those that hold something of it.
func (n *node) free(tasks []*mesos.Task) resource.List {
	var drawn, other resource.List // of what is reserved; of what is neither that nor a firm scalar
	executors := map[string]bool{}
	for _, t := range tasks {
		all := t.Info.GetResources()
		if id := t.Namespace + "\x00" + t.ExecutorID(); t.Executor != nil && !executors[id] {
			executors[id] = true
			all = append(slices.Clone(all), t.Executor.GetResources()...)
		}
		if !slices.ContainsFunc(all, special) {
			continue // what pods ask for is counted with them
		}
		list, err := resource.From("resources", all)
		if err != nil {
			continue // it was read when the task came
		}
		for _, r := range list.AllocatedTo("") {
			if r.Reserved() {
				drawn = drawn.Plus(resource.List{r})
			} else if r.Kind != resource.Scalar || r.Revocable {
				other = other.Plus(resource.List{r})
			}
		}
	}
	reserved := n.total.Where(func(r *resource.Resource) bool { return r.Reserved() }).Minus(drawn).Minus(n.drawnByPods())
	left := n.left(reserved)
	rest := n.total.Where(func(r *resource.Resource) bool { return !r.Reserved() && r.Kind != resource.Scalar })
	out := reserved.Plus(left).Plus(rest.Minus(other)).Plus(n.spare.Minus(other))
	if ports := n.boundPorts(); len(ports) > 0 {
		out = out.Minus(resource.List{{Name: resource.Ports, Kind: resource.Ranges, Ranges: ports}})
	}
	return out
}

// special reports whether a resource is reserved, revocable or no scalar.
func special(r *mesosv1.Resource) bool {
	return r.GetType() != mesosv1.Value_SCALAR || r.Revocable != nil || len(r.Reservations) > 0 || r.Reservation != nil || r.Role != nil && r.GetRole() != mesos.Everyone
}

// left returns the scalars that nobody has and that are not reserved.
func (n *node) left(reserved resource.List) (out resource.List) {
	keep := demandOf(reserved.Plain())
	for i := range n.total {
		r := n.total[i]
		if r.Kind != resource.Scalar || r.Reserved() {
			continue
		}
		more := min(floor(n.Can, r.Name), n.total.Scalar(r.Name)) - amount(n.Used, r.Name) - amount(keep, r.Name)
		if r.Scalar = min(r.Scalar, more); r.Scalar > 0 {
			out = append(out, r)
		}
	}
	return out
}

// drawnByPods returns what pods of tenants beside Mesos' tasks have of what is reserved for them:
// that comes before what is nobody's.
func (n *node) drawnByPods() (out resource.List) {
	var kept resource.List
	for i := range n.total {
		if r := &n.total[i]; r.Reserved() && r.Kind == resource.Scalar && r.Volume == nil {
			kept = append(kept, *r)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	for _, key := range object.SortedKeys(n.pods) {
		u := n.pods[key]
		if u.framework != "" {
			continue
		}
		for i := range kept {
			r := &kept[i]
			if !r.For(u.path) {
				continue
			}
			r1 := *r
			r1.Scalar = min(r.Scalar, amount(u.demand, r.Name))
			r.Scalar -= r1.Scalar
			out = out.Plus(resource.List{r1})
		}
	}
	return out
}

func (n *node) boundPorts() (out []resource.Range) {
	for p := range n.Ports {
		out = append(out, resource.Range{Begin: uint64(p.Port), End: uint64(p.Port)})
	}
	return resource.Joined(out)
}

// floor is amount of what there is: parts of a thousandth do not count.
func floor(d object.Demand, name string) int64 {
	switch name {
	case resource.Mem:
		return resource.Megabytes(d.MemoryBytes)
	case resource.Disk:
		return resource.Megabytes(d.EphemeralBytes)
	}
	return amount(d, name)
}
