package dispatch

import (
	"context"
	"maps"
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
	d     *Dispatcher
	node  string
	wants []store.TableID // whole tables
	// addresses: the node's CNI plugins choose its pods' addresses. The receiver's own.
	addresses bool
	stream    grpc.BidiStreamingServer[wire.Report, wire.Assignments]
	ctx       context.Context // of this one call
	cancel    context.CancelCauseFunc
	heard     atomic.Pointer[time.Time] // when the agent last said something
	busy      atomic.Bool               // what it said waits for our room: it is not silent, we do not listen
	wake      chan struct{}

	mu       sync.Mutex
	dirty    map[item]struct{}
	resync   bool                    // history was lost: send a full set
	messages []*wire.ExecutorMessage // for the node's custom executors
	managers []string                // that are others than the agent was told of; nil: they are not

	// The sender's own.
	pods map[string]held // pods the agent holds
	refs map[item]int    // objects the agent holds for its pods, and for how many
	last []item          // what the pod sent last refers to
	lead map[item][]item // of the claims and volumes among them, to what they lead to
	own  map[string]bool // volumes that lie on the node and that the agent holds

	policies map[string][]string        // network policies the agent holds, and the groups they name
	parts    map[string]map[string]bool // parts of peer groups the agent holds, by group, node
	placed   map[string]bool            // custom objects on the node that the agent holds
	routes   map[string][]item          // routes the agent holds, and the secrets of their certificates
	members  map[string]map[string]bool // nodes whose members of networks the agent knows, by the network's ID
	attached map[string]bool            // volume attachments that the agent holds
}

// held is what the sender remembers of a pod it sent.
type held struct {
	uid   types.UID
	added int32 // ephemeral containers
	refs  []item
	label map[string]string // its labels, which network policies select by; shared
}

func (d *Dispatcher) newSession(stream grpc.BidiStreamingServer[wire.Report, wire.Assignments], node string, wants []string) (*session, error) {
	s := &session{d: d, node: node, stream: stream, wake: make(chan struct{}, 1), dirty: map[item]struct{}{}}
	s.forget()
	for _, w := range wants {
		if !slices.Contains(wholeTables, store.TableID(w)) {
			return nil, kind.New(kind.Denied, "table %q is not given to nodes as a whole", w)
		}
		s.wants = append(s.wants, store.TableID(w))
	}
	s.ctx, s.cancel = context.WithCancelCause(stream.Context())
	s.hear()
	return s, nil
}

// forget makes the sender hold nothing.
func (s *session) forget() {
	s.pods, s.refs, s.lead, s.own = map[string]held{}, map[item]int{}, map[item][]item{}, map[string]bool{}
	s.policies, s.parts, s.placed, s.routes = map[string][]string{}, map[string]map[string]bool{}, map[string]bool{}, map[string][]item{}
	s.members, s.attached = map[string]map[string]bool{}, map[string]bool{}
}

// seen returns when the agent last said something.
// hear notes that the agent says something. The time keeps its monotonic reading: a clock
// that is set makes no node seem away.
func (s *session) hear() {
	now := s.d.cfg.Now()
	s.heard.Store(&now)
}

func (s *session) seen() time.Time { return *s.heard.Load() }

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
	s.forget()
	out := s.outbox()
	out.next.Full, out.next.HeartbeatMs = true, uint32(s.d.cfg.Heartbeat.Milliseconds())
	out.next.Managers = s.d.told()
	snap := s.d.store.Snapshot()
	for row := range tables.Pods.By(snap, tables.PodsByNode, s.node) {
		if err := s.sendPod(out, row.Key().String(), row, true); err != nil {
			return err
		}
	}
	if err := s.sendPolicies(out, snap, out.look); err != nil {
		return err
	}
	if slices.Contains(s.wants, tables.Routes.ID()) {
		for row := range tables.Routes.Rows(snap, "") {
			if err := s.sendRoute(out, snap, row.Key()); err != nil {
				return err
			}
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
	for _, p := range placed {
		for row := range tables.CustomObjects.By(snap, p.index, s.node) {
			if err := s.sendPlaced(out, snap, row.Key().String()); err != nil {
				return err
			}
		}
	}
	for row := range tables.VolumeAttachments.By(snap, tables.AttachmentsByNode, s.node) {
		if err := s.sendAttachment(out, snap, row.Key()); err != nil {
			return err
		}
	}
	if err := s.sendOrders(out, snap); err != nil {
		return err
	}
	for _, t := range s.wants {
		if t == tables.Routes.ID() {
			continue // sent above, with their secrets
		}
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
	messages, managers := s.messages, s.managers
	s.messages, s.managers = nil, nil
	s.mu.Unlock()
	if resync {
		return s.sendFull() // the messages are lost, as they may be
	}
	out := s.outbox()
	out.next.Messages, out.next.Managers = messages, managers
	snap := s.d.store.Snapshot()
	for i := range dirty {
		if err := s.sendItem(out, snap, i); err != nil {
			return err
		}
	}
	if err := s.sendPolicies(out, snap, out.look); err != nil {
		return err
	}
	if err := s.sendRefs(out); err != nil {
		return err
	}
	return out.flush()
}

func (s *session) sendItem(out *outbox, snap *store.Snapshot, i item) error {
	switch {
	case i.table == tables.Pods.ID():
		row, ok := tables.Pods.Row(snap, object.ParseKey(i.key))
		return s.sendPod(out, i.key, row, ok && row.Head().Node == s.node)
	case i.table == tables.NetworkPolicies.ID():
		out.look.policies[i.key] = true
	case i.table == tables.PeerGroups.ID():
		return s.sendPart(out, snap, i)
	case i.table == tables.Routes.ID():
		return s.sendRoute(out, snap, i.objectKey())
	case i.table == tables.NetworkMembers.ID():
		return s.sendMember(out, snap, i)
	case i.table == tables.MesosTasks.ID():
		return s.sendOrder(out, snap, i.objectKey())
	case s.refs[i] > 0 || slices.Contains(s.wants, i.table):
		return s.sendRow(out, snap, i)
	case i.table == tables.PersistentVolumes.ID():
		return s.sendOwn(out, snap, i)
	case i.table == tables.VolumeAttachments.ID():
		return s.sendAttachment(out, snap, object.ParseKey(i.key))
	case i.table == tables.CustomObjects.ID():
		return s.sendPlaced(out, snap, i.key)
	}
	return nil
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
		out.look.namespaces[object.ParseKey(key).Namespace] = true
		out.release = append(out.release, old.refs...)
		return out.put(wire.NewAssignment(string(tables.Pods.ID()), object.ParseKey(key), nil))
	}
	h := row.Head()
	now := held{h.UID, h.Ephemeral, old.refs, h.Labels}
	// What a pod refers to is fixed, but for the containers that are added to it.
	if !had || old.uid != now.uid || old.added != now.added {
		now.refs = references(row.Object())
		if slices.Equal(now.refs, s.last) {
			now.refs = s.last // pods of one template: a node has them by the dozen
		}
		s.last = now.refs
		for _, r := range now.refs {
			s.need(out, r)
		}
		out.release = append(out.release, old.refs...)
	}
	if !had || old.uid != now.uid || !maps.Equal(old.label, now.label) {
		out.look.namespaces[row.Key().Namespace] = true
	}
	s.pods[key] = now
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
			if r.table == tables.NetworkMembers.ID() {
				if err := s.sendMembers(out, snap, r.key); err != nil {
					return err
				}
				continue
			}
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
		if r.table == tables.NetworkMembers.ID() {
			if err := s.dropMembers(out, r.key); err != nil {
				return err
			}
			continue
		}
		out.release = append(out.release, s.lead[r]...)
		delete(s.lead, r)
		if slices.Contains(s.wants, r.table) || s.owns(s.d.store.Snapshot(), r) {
			continue
		}
		if err := out.put(assignment(r, nil)); err != nil {
			return err
		}
	}
	return nil
}

// follow needs what a claim or a volume that is sent leads to, and releases what it led
// to before.
func (s *session) follow(out *outbox, snap *store.Snapshot, i item) {
	to, was := leads(snap, i), s.lead[i]
	if slices.Equal(to, was) {
		return
	}
	for _, r := range to {
		s.need(out, r)
	}
	out.release = append(out.release, was...)
	if delete(s.lead, i); len(to) > 0 {
		s.lead[i] = to
	}
}

// leads returns what a node needs beside a row: a claim's volume, and the secrets that
// a volume's driver is given.
func leads(snap *store.Snapshot, i item) (to []item) {
	switch i.table {
	case tables.PersistentVolumeClaims.ID():
		if c, ok := tables.PersistentVolumeClaims.Get(snap, object.ParseKey(i.key)); ok && c.Spec.VolumeName != "" {
			to = append(to, item{tables.PersistentVolumes.ID(), c.Spec.VolumeName})
		}
	case tables.PersistentVolumes.ID():
		v, ok := tables.PersistentVolumes.Get(snap, object.ParseKey(i.key))
		if !ok || v.Spec.CSI == nil {
			return nil
		}
		for _, ref := range []*corev1.SecretReference{v.Spec.CSI.NodeStageSecretRef, v.Spec.CSI.NodePublishSecretRef} {
			if ref != nil {
				to = append(to, item{tables.Secrets.ID(), object.Key{Namespace: ref.Namespace, Name: ref.Name}.String()})
			}
		}
	}
	return to
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
	s.follow(out, snap, i)
	key := object.ParseKey(i.key)
	var raw []byte
	if row, ok := carriedByID[i.table].Row(snap, key); ok {
		if raw = row.Raw(); raw == nil {
			raw = row.Encoded() // JSON, of a custom object
		}
	}
	return out.put(assignment(i, raw))
}

// outbox gathers a set and cuts it into messages.
type outbox struct {
	s             *session
	next          *wire.Assignments
	bytes         int
	cut           bool // a message of the set has left: another must end it
	need, release []item
	look          selecting
}

func (s *session) outbox() *outbox {
	return &outbox{s: s, next: &wire.Assignments{}, look: selecting{namespaces: map[string]bool{}, policies: map[string]bool{}}}
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
	if len(o.next.Items)+len(o.next.Messages) == 0 && !o.next.Full && !o.cut {
		return nil
	}
	return o.s.stream.Send(o.next)
}
