package dispatch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// item names a row that sessions carry.
type item struct {
	table store.TableID
	key   string
}

// messageBytes is where a set is cut into several messages: gRPC encodes what is
// over 32 KiB into a buffer of 1 MiB, and a thousand sessions begin at once when a
// manager does.
const messageBytes = 24 << 10

// session is one agent's session. Its run goroutine sends; a second receives.
type session struct {
	d      *Dispatcher
	node   string
	wants  []store.TableID // whole tables
	stream grpc.BidiStreamingServer[wire.Report, wire.Assignments]
	ctx    context.Context // of this one call
	cancel context.CancelCauseFunc
	heard  atomic.Int64 // when the agent last said something, Unix nanoseconds
	busy   atomic.Bool  // what it said waits for our room: it is not silent, we do not listen
	wake   chan struct{}

	mu     sync.Mutex
	dirty  map[item]struct{}
	resync bool // history was lost: send a full set

	// The sender's own.
	pods map[string]held // pods the agent holds
	refs map[item]int    // objects the agent holds for its pods, and for how many
	lead map[item]item   // of the claims among them, to the volumes that they lead to
	own  map[string]bool // volumes that lie on the node and that the agent holds
}

// held is what the sender remembers of a pod it sent.
type held struct {
	uid   types.UID
	added int32 // ephemeral containers
	refs  []item
}

func (d *Dispatcher) newSession(stream grpc.BidiStreamingServer[wire.Report, wire.Assignments], node string, wants []string) (*session, error) {
	s := &session{
		d: d, node: node, stream: stream, wake: make(chan struct{}, 1),
		dirty: map[item]struct{}{}, pods: map[string]held{}, refs: map[item]int{}, lead: map[item]item{}, own: map[string]bool{},
	}
	for _, w := range wants {
		if !slices.Contains(wholeTables, store.TableID(w)) {
			return nil, kind.New(kind.Denied, "table %q is not given to nodes as a whole", w)
		}
		s.wants = append(s.wants, store.TableID(w))
	}
	s.ctx, s.cancel = context.WithCancelCause(stream.Context())
	s.heard.Store(d.cfg.Now().UnixNano())
	return s, nil
}

// seen returns when the agent last said something.
func (s *session) seen() time.Time { return time.Unix(0, s.heard.Load()) }

// run sends assignments until the session ends, and returns why it did.
func (s *session) run() error {
	s.d.work.Add(1)
	go func() {
		defer s.d.work.Done()
		s.cancel(s.receive())
	}()
	defer s.cancel(nil)
	if err := s.sendFull(); err != nil {
		return err
	}
	for {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
		if err := s.sendDirty(); err != nil {
			return err
		}
	}
}

// mark makes the sender look at the row; signal wakes it.
func (s *session) mark(i item) {
	s.mu.Lock()
	s.dirty[i] = struct{}{}
	s.mu.Unlock()
}

func (s *session) markAll() {
	s.mu.Lock()
	s.resync = true
	s.mu.Unlock()
	s.signal()
}

func (s *session) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// sendFull sends everything that concerns the node.
func (s *session) sendFull() error {
	s.d.dropRefs(s)
	s.pods, s.refs, s.lead, s.own = map[string]held{}, map[item]int{}, map[item]item{}, map[string]bool{}
	out := &outbox{s: s, next: &wire.Assignments{Full: true, HeartbeatMs: uint32(s.d.cfg.Heartbeat.Milliseconds())}}
	snap := s.d.store.Snapshot()
	for row := range tables.Pods.By(snap, tables.PodsByNode, s.node) {
		if err := s.sendPod(out, row.Key().String(), row, true); err != nil {
			return err
		}
	}
	if err := s.sendRefs(out); err != nil {
		return err
	}
	for row := range tables.PersistentVolumes.By(snap, tables.VolumesByNode, s.node) {
		if err := s.sendOwn(out, snap, item{tables.PersistentVolumes.ID(), row.Key().Name}); err != nil {
			return err
		}
	}
	for _, t := range s.wants {
		for row := range carriedByID[t].Rows(snap, "") {
			if err := out.put(wire.NewAssignment(string(t), row.Key(), row.Raw())); err != nil {
				return err
			}
		}
	}
	return out.flush()
}

// sendDirty sends what was marked, as the newest snapshot shows it.
func (s *session) sendDirty() error {
	s.mu.Lock()
	dirty, resync := s.dirty, s.resync
	s.dirty, s.resync = map[item]struct{}{}, false
	s.mu.Unlock()
	if resync {
		return s.sendFull()
	}
	out := &outbox{s: s, next: &wire.Assignments{}}
	snap := s.d.store.Snapshot()
	for i := range dirty {
		var err error
		if i.table == tables.Pods.ID() {
			row, ok := tables.Pods.Row(snap, object.ParseKey(i.key))
			err = s.sendPod(out, i.key, row, ok && row.Head().Node == s.node)
		} else if s.refs[i] > 0 || slices.Contains(s.wants, i.table) {
			err = s.sendRow(out, snap, i)
		} else if i.table == tables.PersistentVolumes.ID() {
			err = s.sendOwn(out, snap, i)
		}
		if err != nil {
			return err
		}
	}
	if err := s.sendRefs(out); err != nil {
		return err
	}
	return out.flush()
}

type podRow = store.Row[*corev1.Pod, *tables.PodHead]

// sendPod sends a pod of the node, or that a pod is not the node's any more, and
// counts what it refers to. What is needed for the first time goes by sendRefs.
func (s *session) sendPod(out *outbox, key string, row podRow, here bool) error {
	old, had := s.pods[key]
	if !here {
		if !had {
			return nil
		}
		delete(s.pods, key)
		out.release = append(out.release, old.refs...)
		return out.put(wire.NewAssignment(string(tables.Pods.ID()), object.ParseKey(key), nil))
	}
	// What a pod refers to is fixed, but for the containers that are added to it.
	if uid, added := row.Head().UID, row.Head().Ephemeral; !had || old.uid != uid || old.added != added {
		refs := references(row.Object())
		for _, r := range refs {
			s.need(out, r)
		}
		s.pods[key] = held{uid, added, refs}
		out.release = append(out.release, old.refs...)
	}
	return out.put(wire.NewAssignment(string(tables.Pods.ID()), row.Key(), row.Raw()))
}

// need counts one more use of what a pod or a claim refers to.
func (s *session) need(out *outbox, r item) {
	s.refs[r]++
	if s.refs[r] == 1 {
		s.d.needRef(s, r)
		out.need = append(out.need, r)
	}
}

// sendRefs sends the objects that are needed now and were not before, and takes
// away those that no pod needs any more. Each snapshot is younger than the
// registrations in needRef, so no change falls between the two. A claim that is
// sent may need its volume.
func (s *session) sendRefs(out *outbox) error {
	for len(out.need) > 0 {
		snap := s.d.store.Snapshot()
		need := out.need
		out.need = nil
		for _, r := range need {
			if _, ok := carriedByID[r.table].Row(snap, object.ParseKey(r.key)); !ok {
				continue // not there yet: its creation marks it
			}
			if err := s.sendRow(out, snap, r); err != nil {
				return err
			}
		}
	}
	for len(out.release) > 0 {
		r := out.release[0]
		out.release = out.release[1:]
		s.refs[r]--
		if s.refs[r] > 0 {
			continue
		}
		delete(s.refs, r)
		s.d.dropRef(s, r)
		if v, ok := s.lead[r]; ok {
			delete(s.lead, r)
			out.release = append(out.release, v)
		}
		if slices.Contains(s.wants, r.table) || s.owns(s.d.store.Snapshot(), r) {
			continue
		}
		if err := out.put(wire.NewAssignment(string(r.table), object.ParseKey(r.key), nil)); err != nil {
			return err
		}
	}
	return nil
}

// follow needs the volume of a claim that is sent, and releases the one it led to
// before.
func (s *session) follow(out *outbox, snap *store.Snapshot, i item) {
	var to item
	if c, ok := tables.PersistentVolumeClaims.Get(snap, object.ParseKey(i.key)); ok && c.Spec.VolumeName != "" {
		to = item{tables.PersistentVolumes.ID(), c.Spec.VolumeName}
	}
	was, had := s.lead[i]
	if to == was {
		return
	}
	if had {
		out.release = append(out.release, was)
	}
	if delete(s.lead, i); to.key != "" {
		s.lead[i] = to
		s.need(out, to)
	}
}

// sendOwn sends a volume that lies on the node, whether or not a pod uses it:
// the agent is to remove what it is told to.
func (s *session) sendOwn(out *outbox, snap *store.Snapshot, i item) error {
	v, ok := tables.PersistentVolumes.Get(snap, object.ParseKey(i.key))
	here := ok && claim.LocalNode(v) == s.node
	if !here && !s.own[i.key] {
		return nil
	}
	if s.own[i.key] = true; !here {
		delete(s.own, i.key)
	}
	return s.sendRow(out, snap, i)
}

// owns reports whether the item is a volume that lies on the node. That no pod
// needs it any more is no reason to tell the agent that it has gone: the agent would
// remove its data.
func (s *session) owns(snap *store.Snapshot, i item) bool {
	if i.table != tables.PersistentVolumes.ID() {
		return false
	}
	v, ok := tables.PersistentVolumes.Get(snap, object.ParseKey(i.key))
	if !ok || claim.LocalNode(v) != s.node {
		return s.own[i.key]
	}
	s.own[i.key] = true
	return true
}

func (s *session) sendRow(out *outbox, snap *store.Snapshot, i item) error {
	if i.table == tables.PersistentVolumeClaims.ID() {
		s.follow(out, snap, i)
	}
	key := object.ParseKey(i.key)
	var raw []byte
	if row, ok := carriedByID[i.table].Row(snap, key); ok {
		raw = row.Raw()
	}
	return out.put(wire.NewAssignment(string(i.table), key, raw))
}

// outbox gathers a set and cuts it into messages.
type outbox struct {
	s             *session
	next          *wire.Assignments
	bytes         int
	cut           bool // a message of the set has left: another must end it
	need, release []item
}

func (o *outbox) put(a *wire.Assignment) error {
	o.next.Items = append(o.next.Items, a)
	o.bytes += len(a.Object) + len(a.Key) + 32
	if o.bytes < messageBytes {
		return nil
	}
	o.next.More = true
	if err := o.s.stream.Send(o.next); err != nil {
		return err
	}
	o.next, o.bytes, o.cut = &wire.Assignments{}, 0, true
	return nil
}

// flush ends the set. An empty delta is not sent, unless it ends a set.
func (o *outbox) flush() error {
	if len(o.next.Items) == 0 && !o.next.Full && !o.cut {
		return nil
	}
	return o.s.stream.Send(o.next)
}
