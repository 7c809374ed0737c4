package view

import (
	"context"
	"errors"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol"

	"trireme/internal/api/kube/status"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// bookmarkEvery is how often an idle watcher that allows it is told how far it
// has come.
const bookmarkEvery = 30 * time.Second

// watcher pulls one table's events and sends those that match. It is as fast as
// its reader: one that falls behind the table's history is told to list again.
type watcher struct {
	view   *View
	pred   storage.SelectionPredicate
	prefix string
	single bool
	result chan watch.Event
	cancel context.CancelFunc
	direct *direct       // nil: over the channel
	done   chan struct{} // closed when run has ended
	stream *stream       // run's: where direct leads to

	mu   sync.Mutex // held while sending, so that bookmarks never run ahead
	last store.Rev
}

// Watch implements storage.Interface.
func (v *View) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	from, err := parseRev(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{
		view: v, pred: opts.Predicate, prefix: v.key(key).String(), single: !opts.Recursive,
		result: make(chan watch.Event, 100), cancel: cancel, direct: v.takeDirect(ctx), done: make(chan struct{}),
	}
	if opts.Recursive {
		w.prefix = v.under(key)
	} else if namesOnly(w.pred) {
		w.pred.Field = fields.Everything() // the key says it
	}
	initial := from == 0
	if opts.SendInitialEvents != nil {
		initial = *opts.SendInitialEvents
	}
	// The library asks for initial events of old clients too, which know no bookmarks.
	endMark := opts.Predicate.AllowWatchBookmarks && opts.SendInitialEvents != nil && *opts.SendInitialEvents
	go w.run(ctx, from, initial, endMark)
	return w, nil
}

func trimSlash(key, prefix string) string {
	if len(key) <= len(prefix) {
		return ""
	}
	return key[len(prefix):]
}

// namesOnly reports whether a predicate asks for nothing but a name.
func namesOnly(p storage.SelectionPredicate) bool {
	if p.Field == nil || p.Label == nil || !p.Label.Empty() {
		return false
	}
	for _, r := range p.Field.Requirements() {
		if r.Field != "metadata.name" || r.Operator != selection.Equals {
			return false
		}
	}
	return true
}

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.result }

// Stop implements watch.Interface. What is written directly has ended when it returns:
// the answer is not the watcher's any more.
func (w *watcher) Stop() {
	w.cancel()
	if w.direct != nil {
		<-w.done
	}
}

func (w *watcher) run(ctx context.Context, from store.Rev, initial, endMark bool) {
	var wg sync.WaitGroup
	defer func() {
		w.cancel()
		wg.Wait()
		w.flush()
		close(w.result)
		close(w.done)
	}()
	if w.direct != nil {
		w.stream = w.direct.begin(ctx, w.view.encodings)
	}
	if initial {
		snap := w.view.store.Snapshot()
		from = snap.TableRev(w.view.table)
		if !w.sendAll(ctx, snap) {
			return
		}
		if endMark && !w.bookmark(ctx, from, true) {
			return
		}
	} else if from == 0 {
		from = w.view.store.Snapshot().TableRev(w.view.table)
	}
	flowcontrol.WatchInitialized(ctx) // its seat is free for others
	w.last = from
	w.flush()
	if w.pred.AllowWatchBookmarks {
		wg.Go(func() { w.bookmarks(ctx) })
	}
	for e, err := range w.view.store.Events(ctx, from, w.view.table) {
		if err != nil {
			w.sendError(ctx, err)
			return
		}
		if !w.sendEvent(ctx, e) {
			return
		}
	}
}

// flush sends what was written directly.
func (w *watcher) flush() {
	if w.stream != nil {
		w.stream.flush()
	}
}

func (w *watcher) matchesKey(key string) bool {
	if w.single {
		return key == w.prefix
	}
	return len(key) >= len(w.prefix) && key[:len(w.prefix)] == w.prefix
}

func (w *watcher) sendAll(ctx context.Context, snap *store.Snapshot) bool {
	for row := range w.view.table.RowsFrom(snap, w.prefix, "") {
		if !w.matchesKey(row.Key().String()) || tables.Hidden(row) {
			continue
		}
		o, ok, err := w.match(ctx, row)
		if err != nil {
			return false
		}
		if ok && !w.send(ctx, watch.Event{Type: watch.Added, Object: shallow(o)}) {
			return false
		}
	}
	return true
}

// sendEvent turns a write into what the watcher's selectors see of it: an object
// that starts to match is added, one that stops is deleted.
func (w *watcher) sendEvent(ctx context.Context, e *store.Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = e.Rev
	if w.stream != nil && e.Rev >= w.view.table.Rev(w.view.store.Snapshot()) {
		defer w.flush() // nothing follows
	}
	if !w.matchesKey(e.Key().String()) {
		return true
	}
	if w.view.form.Out != nil {
		return w.sendFormed(ctx, e)
	}
	was, is := shown(e)
	if !w.pred.Empty() {
		was, is = w.matches(e, was, is)
	}
	switch {
	case is && was:
		return w.sendShared(ctx, watch.Modified, e)
	case is:
		return w.sendShared(ctx, watch.Added, e)
	case was:
		if e.Type() == store.Deleted {
			return w.sendShared(ctx, watch.Deleted, e)
		}
		// The last state that matched, at the revision that ended it.
		o := shallow(e.Old()).(store.Object)
		o.SetResourceVersion(e.Rev.String())
		return w.send(ctx, watch.Event{Type: watch.Deleted, Object: o})
	}
	return true
}

// shown reports whether there was, and is, a row that doors show.
func shown(e *store.Event) (was, is bool) {
	old, was := e.OldRow()
	row, is := e.Row()
	return was && !tables.Hidden(old), is && !tables.Hidden(row)
}

// matches reports whether the row, which was or is there, matched before and after a
// write.
func (w *watcher) matches(e *store.Event, before, after bool) (was, is bool) {
	if before {
		was, _ = w.pred.Matches(e.Old())
	}
	if after {
		is, _ = w.pred.Matches(w.view.sharing.of(e).shared().Object)
	}
	return was, is
}

// sendFormed is sendEvent for rows that do not stand in the table as the registry
// sees them.
func (w *watcher) sendFormed(ctx context.Context, e *store.Event) bool {
	var now, old store.Object
	is, was := false, false
	var err error
	if row, ok := e.Row(); ok {
		if now, is, err = w.match(ctx, row); err != nil {
			return false
		}
	}
	if row, ok := e.OldRow(); ok {
		if is && w.pred.Empty() {
			was = true // what it was does not matter
		} else if old, was, err = w.match(ctx, row); err != nil {
			return false
		}
	}
	switch {
	case is && was:
		return w.send(ctx, watch.Event{Type: watch.Modified, Object: shallow(now)})
	case is:
		return w.send(ctx, watch.Event{Type: watch.Added, Object: shallow(now)})
	case was:
		// The last state that matched, at the revision that ended it.
		return w.send(ctx, watch.Event{Type: watch.Deleted, Object: at(old, e.Rev)})
	}
	return true
}

// at returns a copy of o with another revision.
func at(o store.Object, rev store.Rev) store.Object {
	c := shallow(o).(store.Object)
	if u, ok := c.(*unstructured.Unstructured); ok { // its metadata is within what is shared
		c = u.DeepCopy()
	}
	c.SetResourceVersion(rev.String())
	return c
}

// match returns the row as the registry's object, and whether it matches. An
// error is told to the watcher, and ends it.
func (w *watcher) match(ctx context.Context, row Row) (store.Object, bool, error) {
	o, err := w.view.out(row)
	if err != nil {
		w.sendError(ctx, err)
		return nil, false, err
	}
	if w.pred.Empty() {
		return o, true, nil
	}
	ok, err := w.pred.Matches(o)
	return o, ok && err == nil, nil
}

// sendShared sends what other watchers of the table are sent too.
func (w *watcher) sendShared(ctx context.Context, t watch.EventType, e *store.Event) bool {
	all := w.view.sharing.of(e)
	if w.stream != nil {
		return ctx.Err() == nil && w.stream.writeShared(t, all)
	}
	return w.send(ctx, watch.Event{Type: t, Object: all.shared()})
}

func (w *watcher) send(ctx context.Context, e watch.Event) bool {
	if w.stream != nil {
		return ctx.Err() == nil && w.stream.write(e)
	}
	select {
	case w.result <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *watcher) bookmarks(ctx context.Context) {
	tick := time.NewTicker(bookmarkEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.mu.Lock()
			ok := w.bookmark(ctx, w.last, false)
			w.flush()
			w.mu.Unlock()
			if !ok {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (w *watcher) bookmark(ctx context.Context, rev store.Rev, end bool) bool {
	o := w.view.empty()
	o.SetResourceVersion(rev.String())
	if end {
		if err := storage.AnnotateInitialEventsEndBookmark(o); err != nil {
			return false
		}
	}
	return w.send(ctx, watch.Event{Type: watch.Bookmark, Object: o})
}

func (w *watcher) sendError(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	var answer apierrors.APIStatus
	if err = status.Of(err); !errors.As(err, &answer) {
		answer = apierrors.NewInternalError(err)
	}
	st := answer.Status()
	w.send(ctx, watch.Event{Type: watch.Error, Object: &st})
}
