package swarm

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/tables"
)

// tryMake puts a new pod into the slot. Its UID is chosen before it is made, as
// templates may ask for the task's id.
func (s *step) tryMake(sl *slot) error {
	uid := s.tx.NewID()
	t := ours.Task{ID: ours.ID(uid), Slot: sl.name, NodeName: s.nodeByID, Network: s.network}
	t.Name = s.svc.Spec.Name + "." + sl.name + "." + t.ID
	node := s.nodes[sl.name]
	if node != nil {
		info := node.Status.NodeInfo
		t.Node = ours.Node{ID: sl.name, Hostname: node.Name, OS: info.OperatingSystem, Architecture: info.Architecture}
	}
	own, err := s.files(&t)
	if err != nil {
		return err
	}
	template, err := s.svc.Template(t)
	if err != nil {
		return err
	}
	pod := sow.FromTemplate(s.svc, ours.Kind, template)
	pod.UID = uid
	if node != nil {
		sow.Pin(&pod.Spec, node.Name)
	}
	if err := s.loop.rules.Ready(s.tx, pod); err != nil {
		return err
	}
	prefix := s.key.Name + "-"
	if node == nil {
		prefix += sl.name + "-"
	}
	for pod.Name = s.tx.NewName(prefix); taken(s, pod); {
		pod.Name = s.tx.NewName(prefix)
	}
	if err := s.loop.rules.Put(s.tx, pod); err != nil {
		return err
	}
	s.putFiles(own, pod)
	s.room--
	if row, ok := tables.Pods.Row(s.tx, object.KeyOf(pod)); ok {
		sl.live = append(sl.live, task{row.Key(), row.Head()})
	}
	return nil
}

func taken(s *step, pod *corev1.Pod) bool {
	key := object.KeyOf(pod)
	_, ok := tables.Pods.Row(s.tx, key)
	return ok || tables.Pods.Removed(s.tx, key)
}

// nodeByID returns the name of the node with an id of docker's.
func (s *step) nodeByID(id string) string {
	for n := range tables.Nodes.All(s.tx) {
		if ours.ID(n.UID) == id {
			return n.Name
		}
	}
	return ""
}

// wantedNodes returns the slots of a global service: the ids of the nodes that its
// constraints allow, and that take new tasks or have one.
func (s *step) wantedNodes() (names []string) {
	s.nodes = map[string]*corev1.Node{}
	template, err := s.svc.Template(ours.Task{Node: ours.Node{Hostname: "-"}, NodeName: s.nodeByID})
	if err != nil {
		s.warn("FailedCreate", err.Error())
		return nil
	}
	required := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{}, Spec: template.Spec})
	for n := range tables.Nodes.All(s.tx) {
		if ok, err := required.Match(n); err != nil || !ok {
			continue
		}
		id := ours.ID(n.UID)
		if sl := s.slots[id]; mayRun(n) || sl != nil && len(sl.live) > 0 {
			s.nodes[id] = n
			s.slot(id)
		}
	}
	return slices.Sorted(maps.Keys(s.nodes))
}
