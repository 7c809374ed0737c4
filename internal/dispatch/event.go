package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// How many events are kept, and for how long.
const (
	eventsKept = 10000
	eventLife  = time.Hour
)

// applyEvents writes events. Equal ones are one row with a count.
func (d *Dispatcher) applyEvents(ctx context.Context, events []*corev1.Event) error {
	if len(events) == 0 {
		return nil
	}
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		for _, e := range events {
			putEvent(tx, e)
		}
		return nil
	})
	if err == nil && tables.Events.Len(d.store.Head()) > eventsKept+eventsKept/10 {
		return d.pruneEvents(ctx)
	}
	return err
}

// putEvent adds one to the count of the equal event, or makes the first. The
// name is a digest of what makes events equal.
func putEvent(tx *store.Tx, e *corev1.Event) {
	o := &e.InvolvedObject
	e.Namespace = cmp.Or(e.Namespace, o.Namespace, metav1.NamespaceDefault)
	h := fnv.New64a()
	fmt.Fprintf(h, "%s|%s|%s|%s|%s|%s|%s|%s", o.Kind, o.UID, o.FieldPath, e.Type, e.Reason, e.Message, e.Source.Component, e.Source.Host)
	e.Name = fmt.Sprintf("%s.%016x", cmp.Or(o.Name, "unknown"), h.Sum64())
	now := metav1.NewTime(tx.Now().Truncate(time.Second))
	if e.LastTimestamp.IsZero() {
		e.LastTimestamp = now
	}
	if e.FirstTimestamp.IsZero() {
		e.FirstTimestamp = e.LastTimestamp
	}
	e.Count = max(e.Count, 1)
	e.ResourceVersion, e.UID = "", ""
	if old, ok := tables.Events.Get(tx, object.KeyOf(e)); ok {
		next := *old
		next.Count += e.Count
		next.LastTimestamp = e.LastTimestamp
		tables.Events.Put(tx, &next)
		return
	}
	tables.Events.Put(tx, e)
}

// pruneEvents drops events that are too old, and the oldest where there are too
// many, whoever wrote them.
func (d *Dispatcher) pruneEvents(ctx context.Context) error {
	type aged struct {
		key  object.Key
		last time.Time
	}
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		var all []aged
		for row := range tables.Events.Rows(tx, "") {
			all = append(all, aged{row.Key(), row.Head()})
		}
		slices.SortFunc(all, func(a, b aged) int { return a.last.Compare(b.last) })
		for i, e := range all {
			if len(all)-i <= eventsKept && tx.Now().Sub(e.last) < eventLife {
				break
			}
			tables.Events.Delete(tx, e.key)
		}
		return nil
	})
	return err
}
