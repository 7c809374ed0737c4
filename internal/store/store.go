package store

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
)

// Entry is one write as the log keeps it. A nil Value deletes the key.
type Entry struct {
	Key   string
	Value []byte
	Rev   Rev
}

// Log is the durable half of a Store. etcdlog is the one on a manager.
type Log interface {
	// Append commits the entries together, after all earlier ones. No key stands
	// twice in one call. An error means that this writer must stop: it was
	// fenced off, or the log cannot be written.
	Append(ctx context.Context, entries []Entry) error
	// Load returns everything the log holds.
	Load(ctx context.Context) (*Contents, error)
}

// Contents is what a log holds when a store opens it.
type Contents struct {
	// Rows are the live rows. Their Rev counts only where the value does not
	// hold its own resourceVersion, as in a snapshot of another Kubernetes.
	Rows []Entry
	Rev  Rev // the last revision given out; no less than the Rev of any row
	// History is the recent writes in order of revision, Old the value a write
	// replaced. It reaches back to, and excludes, Floor.
	History []Change
	Floor   Rev
}

// Change is one write of a log's history.
type Change struct {
	Entry
	Old []byte
}

// Config configures a Store.
type Config struct {
	Log Log // nil: nothing is durable, every Update commits at once
	// Now is the clock of transactions. Required.
	Now func() time.Time
	// NewID returns a random UUID. Required.
	NewID func() types.UID
	// HistoryEvents is how many events each table keeps for watchers; 0: 16,384.
	HistoryEvents int
}

// The commit group: large enough that etcd's cost a transaction is shared, small
// enough that one group stays far below its request limit.
const (
	groupEntriesMax = 1000
	groupBytesMax   = 1 << 20 // etcd keeps the last 100 transactions in memory
	chunkEntriesMax = 4 * groupEntriesMax
	// backlogMax is how many sealed writes may wait before a tick waits for them.
	backlogMax = 8 * groupEntriesMax
)

// Store holds tables. See the package comment.
type Store struct {
	cfg   Config
	defs  []*tableDef
	byID  map[TableID]*tableDef
	rings map[*tableDef]*ring

	head      atomic.Pointer[state]
	committed atomic.Pointer[state]
	dead      chan struct{}
	wake      chan struct{} // tells Run that pending is not empty

	mu      sync.Mutex
	pending []*pending
	backlog int   // writes in pending
	failed  error // why the store is dead
}

// pending is a sealed transaction that is not committed yet.
type pending struct {
	state  *state
	events []*Event
	done   chan struct{}
	err    error
}

// Open returns a store of the given tables with what the log holds. Rows of
// tables it does not know stay in the log untouched.
func Open(ctx context.Context, cfg Config, tables ...Def) (*Store, error) {
	if cfg.Now == nil || cfg.NewID == nil {
		return nil, kind.New(kind.Invalid, "store: Config.Now and Config.NewID are required")
	}
	if cfg.HistoryEvents == 0 {
		cfg.HistoryEvents = 16384
	}
	s := &Store{
		cfg: cfg, byID: map[TableID]*tableDef{}, rings: map[*tableDef]*ring{},
		dead: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	st := newState()
	// Volatile revisions start at the clock, so that a watcher from before a
	// restart is behind and not ahead.
	st.volatile = Rev(cfg.Now().UnixMicro())
	for _, t := range tables {
		def := t.definition()
		if s.byID[def.id] != nil {
			return nil, kind.New(kind.Invalid, "store: table %s is declared twice", def.id)
		}
		s.defs = append(s.defs, def)
		s.byID[def.id] = def
		s.rings[def] = &ring{limit: cfg.HistoryEvents}
		st.tables[def] = newTableState(def)
		if def.volatile {
			s.rings[def].dropped = st.volatile
		}
	}
	if cfg.Log != nil {
		if err := s.load(ctx, st); err != nil {
			return nil, fmt.Errorf("loading the store: %w", err)
		}
	}
	s.head.Store(st)
	s.committed.Store(st)
	return s, nil
}

// Snapshot returns the committed state: what may leave the manager.
func (s *Store) Snapshot() *Snapshot {
	st := s.committed.Load()
	return &Snapshot{st, st.next}
}

// Head returns the head state, which includes writes that are not committed
// yet: what loops and read-modify-write work on.
func (s *Store) Head() *Snapshot {
	st := s.head.Load()
	return &Snapshot{st, st.sealed}
}

// Dead is closed when the store can take no more writes.
func (s *Store) Dead() <-chan struct{} { return s.dead }

// Update runs f on the head state and returns when what it wrote is durable,
// with the revision of the transaction's last write. If f returns an error
// nothing is written and the error is returned as it is. Updates run one at a
// time: f must be short and do no I/O.
//
// Where ctx ends first the error is its error, and the write may still commit.
func (s *Store) Update(ctx context.Context, f func(*Tx) error) (Rev, error) {
	p, err := s.sealed(f)
	if err != nil || p == nil {
		return s.head.Load().rev, err
	}
	for _, e := range p.events { // in this goroutine: Run has enough to do
		if e.row != nil && !e.def.volatile {
			e.row.bytes()
		}
	}
	select {
	case <-p.done:
		return p.events[len(p.events)-1].Rev, p.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// sealed runs f and makes what it wrote the new head; nil where it wrote nothing.
func (s *Store) sealed(f func(*Tx) error) (*pending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return nil, s.failed
	}
	tx := s.begin()
	if err := f(tx); err != nil {
		return nil, err
	}
	return s.push(tx), nil
}

func (s *Store) begin() *Tx {
	base := s.head.Load()
	cur := &state{rev: base.rev, volatile: base.volatile, tables: make(map[*tableDef]*tableState, len(base.tables))}
	for def, ts := range base.tables {
		cur.tables[def] = ts
	}
	return &Tx{
		s: s, base: base, cur: cur, now: s.cfg.Now(),
		private: map[*tableDef]bool{}, writes: map[writeKey]*write{}, written: map[*tableDef]int{},
	}
}

// push seals tx and queues it for Run. Called with mu held.
func (s *Store) push(tx *Tx) *pending {
	st, events := tx.seal()
	if st == nil {
		return nil
	}
	p := &pending{state: st, events: events, done: make(chan struct{})}
	committed := s.committed.Load()
	for _, e := range events {
		s.rings[e.def].append(e, committed.revOf(e.def))
	}
	prev := s.head.Swap(st)
	close(prev.sealed)
	if s.cfg.Log == nil {
		s.commit([]*pending{p})
		return p
	}
	s.pending = append(s.pending, p)
	s.backlog += len(events)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return p
}

// Run commits sealed transactions to the log, in order, until ctx ends or the
// log refuses. After it returns the store is dead.
func (s *Store) Run(ctx context.Context) error {
	err := s.run(ctx)
	s.fail(err)
	return err
}

func (s *Store) run(ctx context.Context) error {
	for {
		group, entries := s.takeGroup()
		if len(group) == 0 {
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for chunk := range chunks(entries) {
			if err := s.cfg.Log.Append(ctx, chunk); err != nil {
				s.release(group, kind.New(kind.Unavailable, "committing to the log: %w", err))
				return err
			}
		}
		s.commit(group)
	}
}

// chunks cuts a group that is too large for one commit of the log. Only a tick
// can be that large. A crash in its midst keeps a prefix of it, in order, that
// nobody has seen: loops look at what is and go on from there.
func chunks(entries []Entry) iter.Seq[[]Entry] {
	return func(yield func([]Entry) bool) {
		start, bytes := 0, 0
		for i := range entries {
			size := len(entries[i].Value)
			if i > start && (i-start >= chunkEntriesMax || bytes+size > groupBytesMax) {
				if !yield(entries[start:i]) {
					return
				}
				start, bytes = i, 0
			}
			bytes += size
		}
		if start < len(entries) {
			yield(entries[start:])
		}
	}
}

// takeGroup takes the longest run of pending transactions that fits one commit.
func (s *Store) takeGroup() ([]*pending, []Entry) {
	s.mu.Lock()
	queue := s.pending
	s.mu.Unlock()

	var entries []Entry
	seen := map[string]bool{}
	n, bytes := 0, 0
	for _, p := range queue {
		// What fits one commit alone is not cut because of what came before it.
		if n > 0 && (len(entries)+len(p.events) > groupEntriesMax || bytes+p.bytes() > groupBytesMax || slices.ContainsFunc(p.events, func(e *Event) bool {
			return seen[e.def.prefix+e.key()]
		})) {
			break
		}
		for _, e := range p.events {
			if e.def.volatile {
				continue
			}
			entry := Entry{Key: e.def.prefix + e.key(), Rev: e.Rev}
			if e.row != nil {
				entry.Value = e.row.bytes()
			}
			seen[entry.Key] = true
			bytes += len(entry.Value)
			entries = append(entries, entry)
		}
		n++
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = s.pending[n:]
	for _, p := range queue[:n] {
		s.backlog -= len(p.events)
	}
	return queue[:n], entries
}

// bytes returns the size of what the log will keep of the transaction.
func (p *pending) bytes() (n int) {
	for _, e := range p.events {
		if e.row != nil && !e.def.volatile {
			n += len(e.row.bytes())
		}
	}
	return n
}

// commit publishes a durable group and releases those who wait for it.
func (s *Store) commit(group []*pending) {
	st := group[len(group)-1].state
	old := s.committed.Swap(st)
	for def, ts := range old.tables {
		if st.tables[def] != ts {
			close(ts.next)
		}
	}
	close(old.next)
	s.release(group, nil)
	for _, p := range group {
		for _, e := range p.events {
			if e.row != nil {
				e.row.settle()
			}
		}
	}
}

func (s *Store) release(group []*pending, err error) {
	for _, p := range group {
		p.err = err
		close(p.done)
	}
}

func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = kind.New(kind.Unavailable, "the store is closed: %w", err)
	s.release(s.pending, s.failed)
	s.pending = nil
	close(s.dead)
}

func (s *Store) deadErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}
