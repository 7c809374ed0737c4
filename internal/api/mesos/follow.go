package mesos

import (
	"context"

	"golang.org/x/sync/errgroup"

	"trireme/internal/kind"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// streamOf returns the stream of a framework's id; nil: there is none.
func (s *Server) streamOf(id string) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[id]
}

// follow tells streams which of their rows change after snap, until ctx ends.
func (s *Server) follow(ctx context.Context, snap *store.Snapshot) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, one := range []struct {
		table *store.Table[store.Object, any]
		tell  func(*store.Event)
	}{
		{tables.MesosOffers.Any(), s.offerChanged},
		{tables.MesosTasks.Any(), func(e *store.Event) { s.taskChanged(e.Key().Namespace, e.Key().Name) }},
		{tables.MesosNotices.Any(), func(e *store.Event) { s.tell(e.Key().Namespace, func(d *dirt) { d.notices = true }) }},
		{tables.CustomObjects.Any(), s.frameworkChanged},
	} {
		g.Go(func() error { return s.followOne(ctx, snap, one.table, one.tell) })
	}
	return g.Wait()
}

// followOne calls tell for what happens to a table; where it falls behind, all streams look
// at all that is theirs.
func (s *Server) followOne(ctx context.Context, snap *store.Snapshot, t *store.Table[store.Object, any], tell func(*store.Event)) error {
	for {
		for e, err := range s.store.Events(ctx, snap.TableRev(t), t) {
			if kind.Is(err, kind.Gone) {
				break
			}
			if err != nil {
				return err
			}
			tell(e)
		}
		snap = s.store.Snapshot()
		s.mu.Lock()
		for _, st := range s.streams {
			st.changed(func(d *dirt) { d.all = true })
		}
		s.mu.Unlock()
	}
}

func (s *Server) tell(framework string, f func(*dirt)) {
	if st := s.streamOf(framework); st != nil {
		st.changed(f)
	}
}

func (s *Server) offerChanged(e *store.Event) {
	o := e.Object()
	if o == nil {
		o = e.Old()
	}
	id := e.Key().Name
	s.tell(o.(*mesos.Offer).Framework, func(d *dirt) {
		if d.offers == nil {
			d.offers = map[string]bool{}
		}
		d.offers[id] = true
	})
}

func (s *Server) taskChanged(framework, task string) {
	s.tell(framework, func(d *dirt) {
		if d.tasks == nil {
			d.tasks = map[string]bool{}
		}
		d.tasks[task] = true
	})
}

// frameworkChanged has the stream of a framework look whether it is still its own.
func (s *Server) frameworkChanged(e *store.Event) {
	plural, name, ok := tables.IsMesos(e.Key())
	if !ok || plural != mesos.Frameworks.Resource {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		if st.name == name {
			st.changed(func(d *dirt) { d.self = true })
		}
	}
}
