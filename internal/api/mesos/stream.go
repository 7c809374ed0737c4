package mesos

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// offersMax is how many offers one event has: what a client reads at once.
const offersMax = 1000

// dirt is which rows of a framework have changed since its stream last looked: as many keys
// as there are rows, however slow its reader is.
type dirt struct {
	offers, tasks map[string]bool // names
	notices, self bool
	all           bool // who told lost count
}

// stream is what one subscription is told. It belongs to the goroutine of its request, but
// for what mu guards.
type stream struct {
	door      *Server
	framework string // id
	name      string // of the Framework
	id        string
	out       *codec.Stream
	f         *mesos.Framework // as last seen
	wake      chan struct{}

	sent map[string]*sending // by the task's id: updates that wait for their acknowledgement
	due  time.Time           // no update is sent again before; zero: none was sent
	told map[string]bool     // notices that were sent and are still rows

	mu    sync.Mutex
	dirt  dirt
	shown map[string]shown // by the offer's id: lent, and still a row
}

// operationPrefix is before the names of notices of operations among what was sent: no task is
// called so.
const operationPrefix = "\x00"

// shown is how an offer stands with its reader.
type shown struct{ answered, inverse bool }

// sending is an update that was sent.
type sending struct {
	uuid  string
	again time.Time // when it is sent again
	wait  time.Duration
}

func newStream(s *Server, f *mesos.Framework, id string, out *codec.Stream) *stream {
	return &stream{
		door: s, framework: f.Spec.ID, name: f.Name, id: id, out: out, f: f, wake: make(chan struct{}, 1),
		sent: map[string]*sending{}, shown: map[string]shown{}, dirt: dirt{all: true},
	}
}

// changed notes what has changed. It may be called by many.
func (s *stream) changed(f func(*dirt)) {
	s.mu.Lock()
	f(&s.dirt)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// answered notes that offers were: they are neither rescinded nor sent again.
func (s *stream) answered(ids []*mesosv1.OfferID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if was, ok := s.shown[id.GetValue()]; ok {
			was.answered = true
			s.shown[id.GetValue()] = was
		}
	}
}

// run sends what there is to tell until the stream ends.
func (s *stream) run(ctx context.Context) {
	seconds := heartbeat.Seconds()
	beat := &scheduler.Event{Type: scheduler.Event_HEARTBEAT.Enum()}
	first := &scheduler.Event{Type: scheduler.Event_SUBSCRIBED.Enum(), Subscribed: &scheduler.Event_Subscribed{
		FrameworkId: &mesosv1.FrameworkID{Value: &s.framework}, HeartbeatIntervalSeconds: &seconds, MasterInfo: s.door.cfg.Master(),
	}}
	if s.send(first) != nil || s.send(beat) != nil {
		return
	}
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		next, err := s.tell()
		if err != nil {
			return
		}
		retry := time.NewTimer(time.Until(next))
		select {
		case <-s.wake:
		case <-retry.C:
		case <-ticker.C:
			err = s.send(beat)
		case <-ctx.Done():
			err = ctx.Err()
		}
		retry.Stop()
		if err != nil {
			return
		}
	}
}

func (s *stream) send(e *scheduler.Event) error {
	err := s.out.Send(e)
	if err != nil {
		s.door.cfg.Log.Debug("a framework does not listen", "framework", s.framework, "err", err)
	}
	return err
}

// ended says that a stream ends by what it was told.
type ended struct{}

func (ended) Error() string { return "the stream has ended" }

// tell sends what has changed, and returns when to look again even if nothing does.
func (s *stream) tell() (time.Time, error) {
	s.mu.Lock()
	d := s.dirt
	s.dirt = dirt{}
	s.mu.Unlock()
	snap := s.door.store.Snapshot()
	if d.all {
		d = s.everything(snap)
	}
	if d.self {
		if err := s.look(snap); err != nil {
			return time.Time{}, err
		}
	}
	if err := s.offers(snap, d.offers); err != nil {
		return time.Time{}, err
	}
	for _, task := range slices.Sorted(maps.Keys(d.tasks)) {
		if err := s.update(snap, task, false); err != nil {
			return time.Time{}, err
		}
	}
	if d.notices {
		if err := s.notices(snap); err != nil {
			return time.Time{}, err
		}
	}
	return s.retry(snap)
}

// everything returns all that a stream may have to tell.
func (s *stream) everything(snap *store.Snapshot) dirt {
	d := dirt{offers: map[string]bool{}, tasks: map[string]bool{}, notices: true, self: true}
	for row := range tables.MesosOffers.By(snap, tables.MesosByFramework, s.framework) {
		d.offers[row.Key().Name] = true
	}
	for id := range s.shown {
		d.offers[id] = true
	}
	for row := range tables.MesosTasks.Rows(snap, s.framework) {
		d.tasks[row.Key().Name] = true
	}
	return d
}

// look ends the stream where it is its framework's no more.
func (s *stream) look(snap *store.Snapshot) error {
	f, ok := tables.MesosFramework(snap, s.framework)
	switch {
	case !ok || f.Status.Removed != nil:
		return ended{}
	case f.Status.Stream != s.id:
		return cmpErr(s.send(errorEvent("Framework failed over")))
	}
	s.f = f
	return nil
}

func cmpErr(err error) error {
	if err != nil {
		return err
	}
	return ended{}
}

// update sends the first of a task's updates that wait for their acknowledgement, unless it
// was sent and it is not time yet.
func (s *stream) update(snap *store.Snapshot, task string, again bool) error {
	t, ok := tables.MesosTasks.Get(snap, object.Key{Namespace: s.framework, Name: task})
	if !ok || len(t.Pending) == 0 {
		delete(s.sent, task)
		return nil
	}
	status := t.Pending[0]
	was := s.sent[task]
	wait := retryMin
	switch {
	case was == nil || was.uuid != string(status.GetUuid()):
	case !again:
		return nil
	default:
		wait = min(2*was.wait, retryMax)
	}
	s.awaits(task, string(status.GetUuid()), wait)
	return s.send(updateEvent(status))
}

// awaits notes that an update was sent, and when it is sent again.
func (s *stream) awaits(name, uuid string, wait time.Duration) {
	at := time.Now().Add(wait)
	if s.sent[name] = (&sending{uuid, at, wait}); s.due.IsZero() || at.Before(s.due) {
		s.due = at
	}
}

func updateEvent(status *mesosv1.TaskStatus) *scheduler.Event {
	return &scheduler.Event{Type: scheduler.Event_UPDATE.Enum(), Update: &scheduler.Event_Update{Status: status}}
}

// retry sends updates again that wait for too long, and returns when the next one does.
func (s *stream) retry(snap *store.Snapshot) (next time.Time, err error) {
	now := time.Now()
	if !s.due.IsZero() && !now.Before(s.due) { // else without a look at each: there may be thousands
		err = s.again(snap, now)
	}
	if next = now.Add(heartbeat); !s.due.IsZero() && s.due.Before(next) {
		next = s.due
	}
	return next, err
}

// again sends those updates again whose time it is.
func (s *stream) again(snap *store.Snapshot, now time.Time) (err error) {
	s.due = time.Time{}
	var due []string
	for task, one := range s.sent {
		if !now.Before(one.again) {
			due = append(due, task)
		} else if s.due.IsZero() || one.again.Before(s.due) {
			s.due = one.again
		}
	}
	slices.Sort(due)
	for _, task := range due {
		if strings.HasPrefix(task, operationPrefix) {
			delete(s.sent, task)
			err = s.notices(snap)
		} else {
			err = s.update(snap, task, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// notices sends those that wait, in order, and takes them away; one with an operation's
// uuid stays until that is acknowledged.
func (s *stream) notices(snap *store.Snapshot) error {
	var done []object.Key
	still := map[string]bool{}
	for n := range tables.MesosNotices.In(snap, s.framework) {
		e := n.Event
		waits := len(e.GetUpdateOperationStatus().GetStatus().GetUuid().GetValue()) > 0
		name := operationPrefix + n.Name
		if still[n.Name] = !waits; s.told[n.Name] || waits && s.sent[name] != nil {
			continue
		}
		if err := s.send(e); err != nil {
			return err
		}
		if waits {
			s.awaits(name, "", retryMin)
			continue
		}
		done = append(done, object.KeyOf(n))
	}
	if s.told = still; len(done) == 0 {
		return nil
	}
	return s.door.writer.put(context.Background(), func(tx *store.Tx) error {
		for _, key := range done {
			tables.MesosNotices.Delete(tx, key)
		}
		return nil
	})
}

// offers sends offers that are new, and rescinds those that are gone.
func (s *stream) offers(snap *store.Snapshot, ids map[string]bool) error {
	var lent []*mesosv1.Offer
	var inverse []*mesosv1.InverseOffer
	view := newView(snap, s.f)
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		row, ok := tables.MesosOffers.Get(snap, object.Key{Name: id})
		is := ok && !row.Refused && row.Framework == s.framework
		s.mu.Lock()
		was, known := s.shown[id]
		switch {
		case is && !known:
			s.shown[id] = shown{inverse: row.Inverse}
		case !is:
			delete(s.shown, id)
		}
		s.mu.Unlock()
		switch {
		case is && !known && row.Inverse:
			inverse = append(inverse, view.inverse(row))
		case is && !known:
			if m := view.offer(row); m != nil {
				lent = append(lent, m)
			}
		case !is && known && !was.answered:
			if err := s.send(rescind(id, was.inverse)); err != nil {
				return err
			}
		}
	}
	for part := range slices.Chunk(lent, offersMax) {
		if err := s.send(&scheduler.Event{Type: scheduler.Event_OFFERS.Enum(), Offers: &scheduler.Event_Offers{Offers: part}}); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(inverse, offersMax) {
		if err := s.send(&scheduler.Event{Type: scheduler.Event_INVERSE_OFFERS.Enum(), InverseOffers: &scheduler.Event_InverseOffers{InverseOffers: part}}); err != nil {
			return err
		}
	}
	return nil
}

func rescind(id string, inverse bool) *scheduler.Event {
	if inverse {
		return &scheduler.Event{Type: scheduler.Event_RESCIND_INVERSE_OFFER.Enum(), RescindInverseOffer: &scheduler.Event_RescindInverseOffer{InverseOfferId: &mesosv1.OfferID{Value: proto.String(id)}}}
	}
	return &scheduler.Event{Type: scheduler.Event_RESCIND.Enum(), Rescind: &scheduler.Event_Rescind{OfferId: &mesosv1.OfferID{Value: proto.String(id)}}}
}
