package swarm

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

// dependents are the services whose tasks wait for others.
type dependents struct {
	of   map[object.Key][]object.Key        // what a service waits for
	wait map[object.Key]map[object.Key]bool // who waits for a service
}

// set notes what a service waits for; nil: nothing any more.
func (d *dependents) set(key object.Key, svc *ours.Service) {
	for _, on := range d.of[key] {
		delete(d.wait[on], key)
	}
	delete(d.of, key)
	if svc == nil {
		return
	}
	all, err := svc.DependsOn()
	if err != nil {
		return // doors refuse it
	}
	for _, one := range all {
		on := ours.Place(one.Service, svc.Spec.Labels)
		if d.of == nil {
			d.of, d.wait = map[object.Key][]object.Key{}, map[object.Key]map[object.Key]bool{}
		}
		if d.wait[on] == nil {
			d.wait[on] = map[object.Key]bool{}
		}
		d.of[key], d.wait[on][key] = append(d.of[key], on), true
	}
}

// release opens the gates of tasks that wait for what has come.
func (s *step) release() {
	all, err := s.svc.DependsOn()
	if err != nil || len(all) == 0 {
		return
	}
	all = slices.DeleteFunc(all, func(d ours.Dependency) bool { return !s.met(d) })
	for _, sl := range s.slots {
		for _, t := range sl.live {
			if t.head.Node == "" {
				s.open(t, all)
			}
		}
	}
}

func (s *step) open(t task, met []ours.Dependency) {
	pod, ok := tables.Pods.Get(s.tx, t.key)
	if !ok {
		return
	}
	gates := slices.DeleteFunc(slices.Clone(pod.Spec.SchedulingGates), func(g corev1.PodSchedulingGate) bool {
		return slices.ContainsFunc(met, func(d ours.Dependency) bool { return g.Name == ours.GatePrefix+d.Service })
	})
	if len(gates) == len(pod.Spec.SchedulingGates) {
		return
	}
	next := pod.DeepCopy()
	next.Spec.SchedulingGates = gates
	tables.Pods.Put(s.tx, next)
}

// met reports whether a service is as far as a dependency asks.
func (s *step) met(d ours.Dependency) bool {
	on := s.loop.services[ours.Place(d.Service, s.svc.Spec.Labels)]
	if on == nil {
		return d.Optional
	}
	label, current := on.Current()
	started, ready, succeeded, live := 0, 0, 0, 0
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(on.UID)) {
		h := row.Head()
		if h.Owner != on.UID || h.UnderReview {
			continue
		}
		if h.Ended() || h.Phase == corev1.PodRunning {
			started++
		}
		if h.Ready && !h.Deleting {
			ready++
		}
		if !h.Ended() {
			live++
		}
		if h.Phase == corev1.PodSucceeded && (!on.Job() || h.Labels[label] == current) {
			succeeded++
		}
	}
	switch d.Condition {
	case ours.ServiceHealthy:
		return ready > 0
	case ours.ServiceCompleted:
		if total, counted := on.Replicas(); on.Job() && counted {
			return succeeded >= total
		}
		return succeeded > 0 && live == 0
	}
	return started > 0
}
