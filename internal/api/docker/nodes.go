package docker

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/manager"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

var nodeRoutes = map[string]handler{
	"GET /nodes": listNodes, "GET /nodes/{id}": inspectNode, "POST /nodes/{id}/update": updateNode, "DELETE /nodes/{id}": removeNode,
}

// managerStatus returns how the node stands as a manager; nil: it is none. One that was taken out
// keeps its label until it joins again.
func (c *call) managerStatus(n *corev1.Node) *swarm.ManagerStatus {
	m, ok := tables.ReadCustom[manager.Manager](c.door.store.Snapshot(), tables.ManagerKey(n.Name))
	leads := n.Name == c.door.cfg.Node
	if !ok && !leads {
		return nil
	}
	out := &swarm.ManagerStatus{Leader: leads, Reachability: swarm.ReachabilityReachable, Addr: c.joinAt(n)}
	if ok && m.Status.Unreachable {
		out.Reachability = swarm.ReachabilityUnreachable
	}
	return out
}

// userLabels returns the node's labels without Kubernetes' own and its engine's.
func userLabels(n *corev1.Node) map[string]string {
	out := map[string]string{}
	for k, v := range n.Labels {
		if !kubernetesOwn(k) && !strings.HasPrefix(k, ours.EnginePrefix) {
			out[k] = v
		}
	}
	return out
}

// engineLabels returns the labels that docker's clients know as the engine's.
func engineLabels(n *corev1.Node) map[string]string {
	out := map[string]string{}
	for k, v := range n.Labels {
		if name, ok := strings.CutPrefix(k, ours.EnginePrefix); ok {
			out[name] = v
		}
	}
	return out
}

func kubernetesOwn(label string) bool {
	domain, _, prefixed := strings.Cut(label, "/")
	return prefixed && (domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io"))
}

// node returns a Node as docker's clients know it.
func (c *call) node(n *corev1.Node) swarm.Node {
	info, capacity := n.Status.NodeInfo, n.Status.Capacity
	out := swarm.Node{ID: ours.ID(n.UID), Meta: meta(n)}
	out.Spec = swarm.NodeSpec{Annotations: swarm.Annotations{Labels: userLabels(n)}, Role: swarm.NodeRoleWorker, Availability: availability(n)}
	out.Description = swarm.NodeDescription{
		Hostname: n.Name, Platform: swarm.Platform{Architecture: kernelArch(info.Architecture), OS: info.OperatingSystem},
		Resources: swarm.Resources{NanoCPUs: capacity.Cpu().MilliValue() * 1e6, MemoryBytes: capacity.Memory().Value()},
		Engine:    swarm.EngineDescription{EngineVersion: cmp.Or(info.KubeletVersion, c.door.cfg.Version), Labels: engineLabels(n)},
		TLSInfo:   swarm.TLSInfo{TrustRoot: string(c.door.cfg.CAPEM)},
	}
	out.Status = swarm.NodeStatus{State: swarm.NodeStateDown, Addr: address(n)}
	if object.NodeReady(n) {
		out.Status.State = swarm.NodeStateReady
	}
	if out.ManagerStatus = c.managerStatus(n); out.ManagerStatus != nil {
		out.Spec.Role = swarm.NodeRoleManager
	}
	return out
}

func availability(n *corev1.Node) swarm.NodeAvailability {
	switch {
	case ours.Drained(n):
		return swarm.NodeAvailabilityDrain
	case n.Spec.Unschedulable:
		return swarm.NodeAvailabilityPause
	}
	return swarm.NodeAvailabilityActive
}

// nodes returns the nodes that the caller may see, and of those that only pods of his are
// on what these tell: their names and, for docker's clients count tasks on nodes that are
// up, whether they are.
func (c *call) nodes() []*corev1.Node {
	out := slices.Collect(tables.Nodes.All(c.snap))
	if c.may("list", "", "nodes", object.Key{}) {
		return out
	}
	names := map[string]bool{}
	for row := range tables.Pods.Rows(c.snap, "") {
		names[row.Head().Node] = true
	}
	for _, n := range out {
		delete(names, n.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n, ok := tables.Nodes.Get(c.all, object.Key{Name: name})
		if !ok {
			continue
		}
		part := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: n.UID, ResourceVersion: n.ResourceVersion, CreationTimestamp: n.CreationTimestamp}}
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady {
				part.Status.Conditions = []corev1.NodeCondition{{Type: cond.Type, Status: cond.Status}}
			}
		}
		out = append(out, part)
	}
	return out
}

// findNode returns the node of an id, name or the beginning of an id.
func (c *call) findNode(ref string) (*corev1.Node, error) {
	if ref == "self" {
		if n, ok := c.self(); ok {
			return n, nil
		}
	}
	return find("node", ref, c.nodes(), func(n *corev1.Node) (string, string) { return ours.ID(n.UID), n.Name })
}

// find returns the one of all that ref means: a whole id, a whole name, or the
// beginning of an id.
func find[T any](what, ref string, all []T, names func(T) (id, name string)) (found T, err error) {
	var begins, named []T
	for _, o := range all {
		id, name := names(o)
		switch {
		case id == ref:
			return o, nil
		case name == ref:
			named = append(named, o)
		case ref != "" && strings.HasPrefix(id, ref):
			begins = append(begins, o)
		}
	}
	switch {
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1: // in several namespaces
		return found, kind.New(kind.Invalid, "%s %s is ambiguous (%d matches found): name it by its id", what, ref, len(named))
	case len(begins) == 1:
		return begins[0], nil
	case len(begins) > 1:
		return found, kind.New(kind.Invalid, "%s %s is ambiguous (%d matches found)", what, ref, len(begins))
	}
	return found, kind.New(kind.NotFound, "%s %s not found", what, ref)
}

func listNodes(c *call) (any, error) {
	f, err := c.filters("id", "label", "membership", "name", "node.label", "role")
	if err != nil {
		return nil, err
	}
	out := []swarm.Node{}
	for _, n := range c.nodes() {
		o := c.node(n)
		if f.prefix("id", o.ID) && f.prefix("name", n.Name) && f.labels("label", o.Description.Engine.Labels) && f.labels("node.label", o.Spec.Labels) &&
			f.equal("role", string(o.Spec.Role)) && f.equal("membership", "accepted") {
			out = append(out, o)
		}
	}
	return out, nil
}

func inspectNode(c *call) (any, error) {
	n, err := c.findNode(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return c.node(n), nil
}

func updateNode(c *call) (any, error) {
	version, err := c.index()
	if err != nil {
		return nil, err
	}
	n, err := c.findNode(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	var spec swarm.NodeSpec
	if err := c.read(&spec); err != nil {
		return nil, err
	}
	switch is := c.node(n).Spec.Role; {
	case spec.Role == "" || spec.Role == is:
	case is == swarm.NodeRoleManager:
		return nil, kind.New(kind.Unsupported, "Role: %[1]s is a manager while its process runs: take it out with `trireme manager rm %[1]s`, end it with `trireme down` on that machine, and let it come back by `trireme join` with the token for workers", n.Name)
	default:
		return nil, kind.New(kind.Unsupported, "Role: %s is a worker while its process runs: end it with `trireme down` on that machine, and let it come back by `trireme join` with the token for managers", n.Name)
	}
	whole, ok := tables.Nodes.Get(c.all, object.KeyOf(n)) // of n, no more may be there than what tasks tell
	if !ok {
		return nil, kind.New(kind.NotFound, "node %s not found", n.Name)
	}
	next := whole.DeepCopy()
	next.ResourceVersion = version
	for k := range userLabels(n) {
		delete(next.Labels, k)
	}
	for k, v := range spec.Labels {
		if !kubernetesOwn(k) && !strings.HasPrefix(k, ours.EnginePrefix) {
			next.Labels[k] = v
		}
	}
	next.Spec.Taints = slices.DeleteFunc(next.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&ours.DrainTaint) })
	switch spec.Availability {
	case swarm.NodeAvailabilityActive, "":
		next.Spec.Unschedulable = false
	case swarm.NodeAvailabilityPause:
		next.Spec.Unschedulable = true
	case swarm.NodeAvailabilityDrain:
		next.Spec.Unschedulable = true
		next.Spec.Taints = append(next.Spec.Taints, ours.DrainTaint)
	default:
		return nil, kind.New(kind.Invalid, "invalid Availability: %q: it is active, pause or drain", spec.Availability)
	}
	if _, err := c.typed().CoreV1().Nodes().Update(c.Context(), next, metav1.UpdateOptions{FieldManager: "docker"}); err != nil {
		return nil, fromKubernetes(err)
	}
	return answer{http.StatusOK, nil}, nil
}

func removeNode(c *call) (any, error) {
	n, err := c.findNode(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	switch {
	case c.managerStatus(n) != nil:
		return nil, kind.New(kind.Invalid, "node %s is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal", n.Name)
	case object.NodeReady(n) && !c.flag("force"):
		return nil, kind.New(kind.Invalid, "node %s is not down and can't be removed: stop it with `trireme down`, or give --force", n.Name)
	}
	if err := c.typed().CoreV1().Nodes().Delete(c.Context(), n.Name, metav1.DeleteOptions{}); err != nil {
		return nil, fromKubernetes(err)
	}
	return answer{http.StatusOK, nil}, nil
}
