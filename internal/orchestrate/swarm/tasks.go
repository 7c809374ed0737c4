package swarm

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/tables"
)

// tryMake puts a new pod into the slot.
func (s *step) tryMake(sl *slot) error {
	pod, own, err := s.pod(sl)
	if err != nil {
		return err
	}
	prefix := s.key.Name + "-"
	if s.nodes[sl.name] == nil {
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
		s.loop.pods[row.Key()] = known{service: s.key, stand: live}
	}
	return nil
}

// pod returns the pod of a new task without its name, and the Secret of its own that it
// needs, nil where it needs none.
func (s *step) pod(sl *slot) (*corev1.Pod, *corev1.Secret, error) {
	if !s.alike {
		return s.podOf(sl)
	}
	if s.model == nil {
		model, _, err := s.podOf(sl)
		if err != nil {
			return nil, nil, err
		}
		s.model = model
	}
	pod := *s.model // shallow: what tasks share is not changed
	pod.UID = s.tx.NewID()
	pod.Labels = maps.Clone(s.model.Labels)
	pod.Labels[ours.SlotLabel] = sl.name
	return &pod, nil, nil
}

// podOf makes the pod of a slot. Its UID is chosen before, as templates may ask for the
// task's id.
func (s *step) podOf(sl *slot) (*corev1.Pod, *corev1.Secret, error) {
	uid := s.tx.NewID()
	t := ours.Task{ID: ours.ID(uid), Slot: sl.name, Network: s.network, Volume: tables.SwarmVolumeSpec(s.tx)}
	t.Name = s.svc.Spec.Name + "." + sl.name + "." + t.ID
	node := s.nodes[sl.name]
	if node != nil {
		info := node.Status.NodeInfo
		t.Node = ours.Node{ID: sl.name, Hostname: node.Name, OS: info.OperatingSystem, Architecture: info.Architecture}
	}
	own, err := s.files(&t)
	if err != nil {
		return nil, nil, err
	}
	template, err := s.svc.Template(t)
	if err != nil {
		return nil, nil, err
	}
	pod := sow.FromTemplate(s.svc, ours.Kind, template)
	pod.UID = uid
	if node != nil {
		sow.Pin(&pod.Spec, node.Name)
	}
	return pod, own, s.loop.rules.Ready(s.tx, pod)
}

func taken(s *step, pod *corev1.Pod) bool {
	key := object.KeyOf(pod)
	_, ok := tables.Pods.Row(s.tx, key)
	return ok || tables.Pods.Removed(s.tx, key)
}

// wantedNodes returns the slots of a service with a task on every node: the ids of the
// nodes that meet its constraints and take new tasks, and of those that take none but
// have one.
func (s *step) wantedNodes() (names []string) {
	s.nodes, s.known = map[string]*corev1.Node{}, map[string]bool{}
	for n := range tables.Nodes.All(s.tx) {
		id := ours.ID(n.UID)
		s.known[id] = true
		sl := s.slots[id]
		if fits := s.placement.Fits(n) && s.placement.Runs(n); mayRun(n) && fits || !mayRun(n) && sl != nil && len(sl.live) > 0 {
			s.nodes[id] = n
			s.slot(id)
		}
	}
	return slices.Sorted(maps.Keys(s.nodes))
}
