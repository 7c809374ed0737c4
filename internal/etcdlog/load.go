package etcdlog

import (
	"context"
	"encoding/json"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"trireme/internal/store"
)

// Load takes the fence over and returns what the log holds.
func (l *Leader) Load(ctx context.Context) (*store.Contents, error) {
	last, err := l.takeOver(ctx)
	if err != nil {
		return nil, err
	}
	at := l.fenceRev
	c := &store.Contents{Rev: last}
	if err := l.loadRows(ctx, at, c); err != nil {
		return nil, err
	}
	c.Floor = c.Rev
	if err := l.loadHistory(ctx, at, c); err != nil {
		return nil, err
	}
	return c, nil
}

// takeOver writes the fence anew, which shuts out whoever wrote it before, and
// returns the last revision given out. In a log without a fence (a snapshot of
// another Kubernetes) revisions go on from etcd's.
func (l *Leader) takeOver(ctx context.Context) (store.Rev, error) {
	resp, err := l.server.Range(ctx, &pb.RangeRequest{Key: []byte(fenceKey)})
	if err != nil {
		return 0, fmt.Errorf("reading the fence: %w", err)
	}
	last := store.Rev(resp.Header.Revision)
	l.fenceRev, l.fenceVer = 0, 0
	if len(resp.Kvs) > 0 {
		var f fence
		if err := json.Unmarshal(resp.Kvs[0].Value, &f); err != nil {
			return 0, fmt.Errorf("reading the fence: %w", err)
		}
		last, l.fenceRev, l.fenceVer = f.Last, resp.Kvs[0].ModRevision, resp.Kvs[0].Version
	}
	if err := l.commit(ctx, fence{First: last + 1, Last: last}, nil); err != nil {
		return 0, fmt.Errorf("taking over the log: %w", err)
	}
	return last, nil
}

func (l *Leader) loadRows(ctx context.Context, at int64, c *store.Contents) error {
	key, end := []byte(registryPrefix), []byte("/registry0")
	for {
		resp, err := l.server.Range(ctx, &pb.RangeRequest{Key: key, RangeEnd: end, Limit: rowsPage, Revision: at})
		if err != nil {
			return fmt.Errorf("reading rows: %w", err)
		}
		for _, kv := range resp.Kvs {
			c.Rows = append(c.Rows, store.Entry{Key: string(kv.Key), Value: kv.Value, Rev: store.Rev(kv.ModRevision)})
		}
		if !resp.More {
			return nil
		}
		key = append(resp.Kvs[len(resp.Kvs)-1].Key, 0)
	}
}

// loadHistory replays the recent commits. A commit it cannot explain (written
// by something else, or cut by a compaction) moves the floor past it.
func (l *Leader) loadHistory(ctx context.Context, at int64, c *store.Contents) error {
	from := max(l.server.KV().FirstRev()+1, at-l.cfg.HistoryCommits, 1)
	if from > at {
		return nil
	}
	events, err := l.replay(ctx, from, at)
	if err != nil {
		return err
	}
	for start := 0; start < len(events); {
		end := start
		for end < len(events) && events[end].Kv.ModRevision == events[start].Kv.ModRevision {
			end++
		}
		changes, f, ok := l.explain(ctx, events[start:end])
		switch {
		case !ok:
			c.History, c.Floor = nil, c.Rev
		case len(c.History) == 0 && f.First-1 < c.Rev:
			c.Floor = f.First - 1
			fallthrough
		default:
			c.History = append(c.History, changes...)
		}
		start = end
	}
	if len(c.History) == 0 {
		c.Floor = c.Rev
	}
	return nil
}

// replay returns etcd's events from one revision to another, in order.
func (l *Leader) replay(ctx context.Context, from, to int64) ([]*mvccpb.Event, error) {
	w := l.server.Watchable().NewWatchStream()
	defer w.Close()
	if _, err := w.Watch(ctx, 0, []byte("/"), []byte("0"), from); err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	var events []*mvccpb.Event
	for {
		select {
		case resp, ok := <-w.Chan():
			if !ok || resp.CompactRevision != 0 {
				return nil, nil
			}
			events = append(events, resp.Events...)
			if n := len(events); n > 0 && events[n-1].Kv.ModRevision >= to {
				return events, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// explain turns the events of one commit into changes with their revisions.
func (l *Leader) explain(ctx context.Context, events []*mvccpb.Event) ([]store.Change, fence, bool) {
	var f fence
	last := events[len(events)-1]
	if string(last.Kv.Key) != fenceKey || json.Unmarshal(last.Kv.Value, &f) != nil {
		return nil, f, false
	}
	rows := events[:len(events)-1]
	if store.Rev(len(rows)) != f.Last-f.First+1 {
		return nil, f, false
	}
	changes := make([]store.Change, len(rows))
	for i, e := range rows {
		ch := &changes[i]
		ch.Key, ch.Rev = string(e.Kv.Key), f.First+store.Rev(i)
		if e.Type != mvccpb.Event_DELETE {
			ch.Value = e.Kv.Value
		}
		if e.Type == mvccpb.Event_DELETE || e.Kv.CreateRevision != e.Kv.ModRevision {
			old, err := l.server.Range(ctx, &pb.RangeRequest{Key: e.Kv.Key, Revision: e.Kv.ModRevision - 1, Serializable: true})
			if err != nil || len(old.Kvs) == 0 {
				return nil, f, false
			}
			ch.Old = old.Kvs[0].Value
		}
	}
	return changes, f, true
}
