package engine

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/api/docker/happen"
	"trireme/internal/api/docker/view"
	"trireme/internal/kind"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/store"
	"trireme/internal/tables"
)

var eventRoutes = map[string]handler{"GET /events": followEvents}

// tell says what was done with a container.
func (s *Server) tell(one *view.Container, action events.Action, more map[string]string) {
	s.told.Tell(tables.Pods, object.KeyOf(one.Pod), func(at time.Time) (events.Message, bool) { return containerEvent(one, action, more, at), true })
}

// tellOf tells of the changes of a table, until ctx ends.
func (s *Server) tellOf(ctx context.Context, t teller) {
	for from := s.store.Snapshot().TableRev(t.table); ctx.Err() == nil; from = s.store.Snapshot().TableRev(t.table) {
		for e, err := range s.store.Events(ctx, from, t.table) {
			if kind.Is(err, kind.Gone) {
				break // too slow: what was missed is not told
			}
			if err != nil {
				return
			}
			for _, say := range t.of(s, e) {
				s.told.Tell(t.table, e.Key(), say)
			}
		}
	}
}

// teller turns the changes of a table into events.
type teller struct {
	table *store.Table[store.Object, any]
	of    func(*Server, *store.Event) []happen.Say
}

var told = []teller{
	{tables.Pods.Any(), func(s *Server, e *store.Event) (out []happen.Say) {
		for _, action := range happen.Pod(e) {
			out = append(out, func(at time.Time) (events.Message, bool) { return s.podEvent(e, action, at) })
		}
		return out
	}},
	{tables.CustomObjects.Any(), func(_ *Server, e *store.Event) []happen.Say { return said(happen.Custom(e)) }},
	{tables.Secrets.Any(), func(_ *Server, e *store.Event) []happen.Say { return said(happen.File(e)) }},
	{tables.ConfigMaps.Any(), func(_ *Server, e *store.Event) []happen.Say { return said(happen.File(e)) }},
	{tables.Nodes.Any(), func(s *Server, e *store.Event) []happen.Say {
		return said(happen.Node(e, s.describe))
	}},
}

func said(say happen.Say) []happen.Say {
	if say == nil {
		return nil
	}
	return []happen.Say{say}
}

// podEvent is what happened to a pod's container; of several, to the first.
func (s *Server) podEvent(e *store.Event, action events.Action, at time.Time) (m events.Message, known bool) {
	p, ok := e.Object().(*corev1.Pod)
	if !ok || len(p.Spec.Containers) == 0 {
		return m, false
	}
	snap := s.store.Snapshot()
	var task *view.Task
	if name := p.Labels[ours.ServiceLabel]; name != "" {
		if svc, ok := tables.Swarm(snap, object.Key{Namespace: p.Namespace, Name: name}); ok {
			task = viewTask(svc, p, NodeIDs(snap))
		}
	}
	all := view.Of(p, task)
	one := &all[len(p.Spec.InitContainers)]
	more := map[string]string{}
	switch action {
	case events.ActionDie:
		more["exitCode"] = strconv.Itoa(one.ExitCode())
	case events.ActionHealthStatus:
		if !object.HealthChecked(p, one.Spec) {
			return m, false
		}
		action = events.Action(string(events.ActionHealthStatus) + ": " + string(one.Health(at)))
	}
	return containerEvent(one, action, more, at), true
}

// followEvents sends what happens, one line of JSON each.
func followEvents(c *call) (any, error) {
	f, err := c.filters("config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret", "service", "type", "volume")
	if err != nil {
		return nil, err
	}
	since, err := c.moment("since")
	if err != nil {
		return nil, err
	}
	until, err := c.moment("until")
	if err != nil {
		return nil, err
	}
	media := types.MediaTypeJSON
	for _, m := range []string{types.MediaTypeNDJSON, types.MediaTypeJSONLines} {
		if strings.Contains(c.Header.Get("Accept"), m) {
			media = m
		}
	}
	past, coming := c.door.told.Join() // before the client hears that it follows
	defer c.door.told.Leave(coming)
	c.Out.Header().Set("Content-Type", media)
	c.Out.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(c.Out).Flush
	if flush() != nil {
		return Streamed, nil
	}
	send := func(h *happen.Happening) error {
		if m, known := h.Message(); known && f.event(&m) && c.Sees(h.Table, h.Key) {
			_, err := c.Out.Write(h.Line())
			return err
		}
		return nil
	}
	for _, h := range past {
		if !since.IsZero() && !h.At.Before(since) && (until.IsZero() || !h.At.After(until)) && send(h) != nil {
			return Streamed, nil
		}
	}
	return Streamed, c.follow(coming, until, send, flush)
}

func (c *call) follow(coming chan *happen.Happening, until time.Time, send func(*happen.Happening) error, flush func() error) error {
	var end <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		end = t.C
	}
	for {
		if flush() != nil {
			return nil
		}
		select {
		case h, ok := <-coming:
			if !ok || send(h) != nil {
				return nil
			}
		case <-end:
			return nil
		case <-c.Context().Done():
			return nil
		}
	}
}

// moment reads a time of the query: seconds of Unix, with fractions.
func (c *call) moment(name string) (time.Time, error) {
	text := c.FormValue(name)
	if text == "" || text == "0" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return time.Time{}, kind.New(kind.Malformed, "invalid %s %q: it is a time in seconds of Unix", name, text)
	}
	return time.UnixMicro(int64(seconds * 1e6)), nil
}

// event reports whether the filters let an event through. A filter by what kind of
// object it is of means that object's id, the beginning of it, or its name.
func (f filters) event(m *events.Message) bool {
	if !f.Equal("type", string(m.Type)) || !f.Equal("scope", m.Scope) || !f.Labels("label", m.Actor.Attributes) ||
		!f.Any("event", func(v string) bool { return v == string(m.Action) || strings.HasPrefix(string(m.Action), v+":") }) {
		return false
	}
	for _, of := range []events.Type{
		events.ContainerEventType, events.ServiceEventType, events.NodeEventType, events.SecretEventType, events.ConfigEventType,
		events.NetworkEventType, events.VolumeEventType, events.PluginEventType, events.DaemonEventType,
	} {
		name := string(of)
		if len(f.Set[name]) > 0 && (m.Type != of || !f.Prefix(name, m.Actor.ID) && !f.Equal(name, m.Actor.Attributes["name"])) {
			return false
		}
	}
	return f.Any("image", func(v string) bool {
		return m.Type == events.ImageEventType && (v == m.Actor.ID || v == m.Actor.Attributes["name"]) || sameImage(v, m.Actor.Attributes["image"])
	})
}

// containerEvent is what was done with a container.
func containerEvent(one *view.Container, action events.Action, more map[string]string, at time.Time) events.Message {
	attributes := one.Labels()
	attributes["name"], attributes["image"] = one.Name, one.Spec.Image
	maps.Copy(attributes, more)
	return happen.Message(events.ContainerEventType, action, events.Actor{ID: one.ID, Attributes: attributes}, "local", at)
}
