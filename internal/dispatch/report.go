package dispatch

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// How reports are gathered.
const (
	gatherFor     = 2 * time.Millisecond
	batchMax      = 1000
	reportsMax    = 20000 // waiting; then receivers wait, and with them their agents
	eventsWaitMax = 5000  // waiting; then the newest are dropped
)

// podReport is one pod's status, decoded by the session's receiver.
type podReport struct {
	node   string
	key    object.Key
	uid    types.UID
	status *corev1.PodStatus // nil: none said
	gone   bool
	// addressed: the node's CNI plugins chose the pod's addresses, which the status says.
	addressed bool
}

// reports is the queue in which the reports of all sessions meet.
type reports struct {
	wake chan struct{}
	room chan struct{} // holds a token where the queue was emptied

	mu     *sync.Mutex
	pods   []podReport
	events []*corev1.Event
}

func newReports() reports {
	return reports{wake: make(chan struct{}, 1), room: make(chan struct{}, 1), mu: &sync.Mutex{}}
}

// receive takes the session's reports until the stream ends.
func (s *session) receive() error {
	for {
		r, err := s.stream.Recv()
		if err != nil {
			return err
		}
		s.hear()
		if r.Hello != nil {
			if err := s.helloAgain(r.Hello); err != nil {
				return err
			}
		}
		if r.NodeStatus != nil {
			status := &corev1.NodeStatus{}
			if err := status.Unmarshal(r.NodeStatus); err != nil {
				return kind.New(kind.Malformed, "decoding a node's status: %w", err)
			}
			if err := s.d.nodeStatus(s.ctx, s.node, status); err != nil {
				return err
			}
		}
		if r.Mirrors != nil {
			if err := s.d.mirror(s.ctx, s.node, r.Mirrors); err != nil {
				return err
			}
		}
		if r.Storage != nil {
			if err := s.d.storage(s.ctx, s.node, r.Storage); err != nil {
				return err
			}
		}
		if r.Snapshots != nil {
			if err := s.d.snapshots(s.ctx, s.node, r.Snapshots.States); err != nil {
				return err
			}
		}
		if err := s.d.executorTasks(s.ctx, s, r.Tasks); err != nil {
			return err
		}
		if err := s.d.executorMessages(s.ctx, r.Messages); err != nil {
			return err
		}
		pods, events, err := s.decode(r)
		if err != nil {
			return err
		}
		s.busy.Store(true)
		err = s.d.reports.add(s.ctx, pods, events)
		s.hear()
		s.busy.Store(false)
		if err != nil {
			return err
		}
	}
}

// helloAgain takes what a node says of itself later.
func (s *session) helloAgain(h *wire.Hello) error {
	node := &corev1.Node{}
	if node.Unmarshal(h.Node) != nil || node.Name != s.node {
		return kind.New(kind.Malformed, "a hello names its node, %s", s.node)
	}
	s.addresses = object.PluginAddresses(node)
	_, err := s.d.hello(s.ctx, node)
	return err
}

func (s *session) decode(r *wire.Report) ([]podReport, []*corev1.Event, error) {
	var pods []podReport
	for _, p := range r.Pods {
		report := podReport{
			node: s.node, key: object.Key{Namespace: p.Namespace, Name: p.Name}, uid: types.UID(p.Uid), gone: p.Gone,
			addressed: s.addresses,
		}
		if len(p.Status) > 0 {
			report.status = &corev1.PodStatus{}
			if err := report.status.Unmarshal(p.Status); err != nil {
				return nil, nil, kind.New(kind.Malformed, "decoding the status of pod %s: %w", report.key, err)
			}
		}
		pods = append(pods, report)
	}
	var events []*corev1.Event
	for _, b := range r.Events {
		e := &corev1.Event{}
		if err := e.Unmarshal(b); err != nil {
			return nil, nil, kind.New(kind.Malformed, "decoding an event: %w", err)
		}
		events = append(events, e)
	}
	return pods, events, nil
}

// add queues reports, waiting while too many wait.
func (q *reports) add(ctx context.Context, pods []podReport, events []*corev1.Event) error {
	if len(pods)+len(events) == 0 {
		return nil
	}
	for {
		q.mu.Lock()
		if len(q.pods) < reportsMax {
			break
		}
		q.mu.Unlock()
		select {
		case <-q.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	q.pods = append(q.pods, pods...)
	q.events = append(q.events, events[:min(len(events), max(0, eventsWaitMax-len(q.events)))]...)
	roomy := len(q.pods) < reportsMax
	q.mu.Unlock()
	if roomy {
		poke(q.room) // the next who waits
	}
	poke(q.wake)
	return nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (q *reports) take() (pods []podReport, events []*corev1.Event, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.pods), batchMax)
	pods, events = q.pods[:n:n], q.events
	q.pods, q.events = q.pods[n:], nil
	if len(q.pods) == 0 {
		q.pods = nil
	}
	return pods, events, len(q.pods) > 0
}

// apply writes queued reports in groups until ctx ends.
func (d *Dispatcher) apply(ctx context.Context) error {
	gather := time.NewTimer(0)
	defer gather.Stop()
	<-gather.C
	for {
		select {
		case <-d.reports.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		gather.Reset(gatherFor)
		select {
		case <-gather.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for more := true; more; {
			var pods []podReport
			var events []*corev1.Event
			pods, events, more = d.reports.take()
			poke(d.reports.room)
			if err := d.applyPods(ctx, pods); err != nil {
				return err
			}
			if err := d.applyEvents(ctx, events); err != nil {
				return err
			}
		}
	}
}

// prepared is a pod's next row, made outside the transaction from one that was
// the newest then.
type prepared struct {
	from podRow
	next *corev1.Pod // nil: delete
	skip bool        // nothing changes
}

// applyPods writes pods' statuses in one transaction. The pods are decoded and
// merged before it, so that it only puts.
func (d *Dispatcher) applyPods(ctx context.Context, batch []podReport) error {
	if len(batch) == 0 {
		return nil
	}
	ready := make([]prepared, len(batch))
	head, now := d.store.Head(), d.cfg.Now()
	for i := range batch {
		ready[i] = prepare(head, &batch[i], now)
	}
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		for i := range batch {
			r, p := &batch[i], ready[i]
			if row, _ := tables.Pods.Row(tx, r.key); row != p.from {
				p = prepare(tx, r, now) // changed meanwhile, or earlier in this batch
			}
			d.put(tx, r, p)
		}
		return nil
	})
	return err
}

func (d *Dispatcher) put(tx *store.Tx, r *podReport, p prepared) {
	switch {
	case p.skip:
	case p.next == nil:
		tables.Pods.Delete(tx, r.key)
	default:
		tables.Pods.Put(tx, p.next)
		if r.gone {
			return
		}
		row, _ := tables.Pods.Row(tx, r.key)
		d.mu.Lock()
		d.own[row.Head()] = struct{}{}
		d.mu.Unlock()
	}
}

// prepare returns what a report makes of its pod.
func prepare(r store.Reader, report *podReport, now time.Time) prepared {
	row, ok := tables.Pods.Row(r, report.key)
	if !ok || row.Head().UID != report.uid || row.Head().Node != report.node {
		return prepared{from: row, skip: true} // of another pod, or not this node's
	}
	old := row.Object()
	next := *old // shallow: only the status is replaced
	if report.gone {
		return prepareGone(row, &next, report, now)
	}
	if report.status == nil {
		return prepared{from: row, skip: true}
	}
	next.Status = report.merge(old)
	if sameStatus(&old.Status, &next.Status) {
		return prepared{from: row, skip: true}
	}
	return prepared{from: row, next: &next}
}

// prepareGone deletes a pod that was to go. One that was not has failed: its
// owner decides what comes next.
func prepareGone(row podRow, next *corev1.Pod, report *podReport, now time.Time) prepared {
	if next.DeletionTimestamp != nil && len(next.Finalizers) == 0 {
		return prepared{from: row}
	}
	if report.status != nil {
		next.Status = report.merge(next)
	}
	// Only finalizers hold it now: once they are gone, nobody is left to wait for.
	held := next.DeletionTimestamp != nil && (next.DeletionGracePeriodSeconds == nil || *next.DeletionGracePeriodSeconds > 0)
	if held {
		next.DeletionGracePeriodSeconds = new(int64)
	}
	if !object.PodEnded(next) {
		fail(next, metav1.NewTime(now.Truncate(time.Second)))
	}
	old := row.Object()
	return prepared{from: row, next: next, skip: !held && sameStatus(&old.Status, &next.Status)}
}
