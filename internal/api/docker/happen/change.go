package happen

import (
	"maps"
	"reflect"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/object/network"
	ours "trireme/internal/object/swarm"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Pod returns what a change did to a pod's containers; nothing: nothing that is told.
func Pod(e *store.Event) (actions []events.Action) {
	now, there := e.Row()
	was, before := e.OldRow()
	if there && tables.Hidden(now) {
		return nil
	}
	state := func(r store.Row[store.Object, any], is bool) (h tables.PodHead, running bool) {
		if !is {
			return h, false
		}
		if head, ok := r.Head().(*tables.PodHead); ok {
			h = *head
		}
		return h, h.Phase == corev1.PodRunning
	}
	n, runs := state(now, there)
	w, ran := state(was, before)
	if there && before && n.Phase == w.Phase && n.Restarts == w.Restarts && !w.UnderReview && (!runs || n.Ready == w.Ready) {
		return nil
	}
	if there && (!before || w.UnderReview) {
		actions = append(actions, events.ActionCreate)
	}
	if runs && (!ran || n.Restarts > w.Restarts) {
		actions = append(actions, events.ActionStart)
	}
	if there && before && !w.Ended() && n.Ended() || !there && !w.Ended() {
		actions = append(actions, events.ActionDie)
	}
	if runs && ran && n.Restarts == w.Restarts && n.Ready != w.Ready {
		actions = append(actions, events.ActionHealthStatus)
	}
	if !there {
		actions = append(actions, events.ActionDestroy)
	}
	return actions
}

// Service returns what a change of a custom object is; nil: nothing that is told.
func Service(e *store.Event) Say {
	if _, ok := tables.IsSwarm(e.Key()); !ok {
		return nil
	}
	return func(at time.Time) (m events.Message, known bool) {
		now, is := serviceOf(e.Object())
		if !is {
			return m, false
		}
		was, before := serviceOf(e.Old())
		_, there := e.Row()
		attributes := map[string]string{"name": now.Spec.Name}
		action := events.ActionUpdate
		switch {
		case !there:
			action = events.ActionRemove
		case !before:
			action = events.ActionCreate
		default:
			changes := serviceChanges(was, now)
			if len(changes) == 0 && reflect.DeepEqual(was.Spec, now.Spec) {
				return m, false // how its tasks stand
			}
			for k, v := range changes {
				attributes[k] = v
			}
		}
		return Message(events.ServiceEventType, action, events.Actor{ID: ours.ID(now.UID), Attributes: attributes}, "swarm", at), true
	}
}

func serviceOf(o store.Object) (*ours.Service, bool) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || u == nil {
		return nil, false
	}
	s, err := ours.FromUnstructured(u)
	return s, err == nil
}

// serviceChanges says what has changed in docker's words.
func serviceChanges(was, now *ours.Service) map[string]string {
	out := map[string]string{}
	changed := func(name, a, b string) {
		if a != b {
			out[name+".old"], out[name+".new"] = a, b
		}
	}
	replicas := func(s *ours.Service) string {
		n, replicated := s.Replicas()
		if !replicated {
			return ""
		}
		return strconv.Itoa(n)
	}
	image := func(s *ours.Service) string {
		if s.Spec.TaskTemplate.ContainerSpec == nil {
			return ""
		}
		return s.Spec.TaskTemplate.ContainerSpec.Image
	}
	update := func(s *ours.Service) string {
		if s.Status.Update == nil {
			return ""
		}
		return string(s.Status.Update.State)
	}
	changed("replicas", replicas(was), replicas(now))
	changed("image", image(was), image(now))
	changed("updatestate", update(was), update(now))
	return out
}

// Custom returns what a change of a custom object is; nil: nothing that is told.
func Custom(e *store.Event) Say {
	if say := Service(e); say != nil {
		return say
	}
	_, isNetwork := tables.IsNetwork(e.Key())
	place := tables.ParseCustomKey(e.Key())
	if !isNetwork && (place.Group != ours.Group.Group || place.Plural != ours.Volumes.Resource) {
		return nil
	}
	_, there := e.Row()
	action := events.ActionRemove
	if !isNetwork {
		action = events.ActionDestroy
	}
	switch _, before := e.OldRow(); {
	case there && before:
		return nil
	case there:
		action = events.ActionCreate
	}
	return func(at time.Time) (m events.Message, known bool) {
		u, ok := e.Object().(*unstructured.Unstructured)
		if !ok {
			return m, false
		}
		if !isNetwork {
			v, err := ours.VolumeFrom(u)
			if err != nil {
				return m, false
			}
			return Message(events.VolumeEventType, action, events.Actor{ID: v.Called(), Attributes: map[string]string{"driver": "local"}}, "local", at), true
		}
		n := &network.Network{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, n); err != nil {
			return m, false
		}
		is := ours.NetworkOf(n)
		actor := events.Actor{ID: ours.ID(n.UID), Attributes: map[string]string{"name": is.Name, "type": is.Driver}}
		return Message(events.NetworkEventType, action, actor, "swarm", at), true
	}
}

// File returns what a change of a Secret or ConfigMap is; nil: nothing that is told.
func File(e *store.Event) Say {
	return func(at time.Time) (m events.Message, known bool) {
		now, is := fileOf(e.Object())
		if !is || !now.Listed() {
			return m, false
		}
		was, before := fileOf(e.Old())
		_, there := e.Row()
		action := events.ActionUpdate
		switch {
		case !there:
			action = events.ActionRemove
		case !before:
			action = events.ActionCreate
		case maps.Equal(was.Spec().Labels, now.Spec().Labels):
			return m, false // docker's clients cannot change content
		}
		actor := events.Actor{ID: now.ID(), Attributes: map[string]string{"name": now.Spec().Name}}
		return Message(events.Type(now.Word()), action, actor, "swarm", at), true
	}
}

func fileOf(o store.Object) (ours.File, bool) {
	switch o := o.(type) {
	case *corev1.Secret:
		return ours.SecretFile(o), o != nil
	case *corev1.ConfigMap:
		return ours.ConfigFile(o), o != nil
	}
	return ours.File{}, false
}

// Node returns what a change of a node is; nil: nothing that is told. describe says how a
// node is, by what of it is told.
func Node(e *store.Event, describe func(*corev1.Node) map[string]string) Say {
	now, ok := e.Object().(*corev1.Node)
	if !ok {
		return nil
	}
	_, there := e.Row()
	was, before := e.Old().(*corev1.Node)
	attributes := map[string]string{"name": now.Name}
	action := events.ActionUpdate
	switch {
	case !there:
		action = events.ActionRemove
	case !before:
		action = events.ActionCreate
	default:
		a, b := describe(was), describe(now)
		for name, x := range a {
			if y := b[name]; x != y {
				attributes[name+".old"], attributes[name+".new"] = x, y
			}
		}
		if len(attributes) == 1 {
			return nil // its heartbeat
		}
	}
	return func(at time.Time) (events.Message, bool) {
		return Message(events.NodeEventType, action, events.Actor{ID: ours.ID(now.UID), Attributes: attributes}, "swarm", at), true
	}
}
