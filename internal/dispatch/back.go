package dispatch

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// crowd is many nodes that come back one after the other, because it was the manager
// that was cut off. They go on with what they were told before it was; told now,
// those that come first would take the pods of those that come last for lost.
type crowd struct {
	until time.Time     // nobody waits longer; in the past: there is no crowd
	all   chan struct{} // closed when every node is back; nil: it was
}

// How long a node of a crowd waits for the others: an agent looks for its manager
// every two seconds. Those that are back when the last one comes wait until its
// endpoints are there.
const (
	crowdWait   = 3 * time.Second
	crowdSettle = 100 * time.Millisecond
)

// awaitOthers returns when a node that has come may be told everything. away: it had
// been given up.
func (d *Dispatcher) awaitOthers(ctx context.Context, away bool) error {
	nodes := tables.Nodes.Len(d.store.Head())
	d.mu.Lock()
	c := &d.crowd
	missing, now := nodes-len(d.sessions), d.cfg.Now()
	if missing <= 0 && c.all != nil {
		close(c.all)
		c.all = nil
	}
	gathering := now.Before(c.until)
	if away && !gathering && object.MostAway(missing+1, nodes) { // it is back itself, just now
		*c = crowd{now.Add(min(crowdWait, d.cfg.Grace/2)), make(chan struct{})}
		gathering = true
	}
	all, wait := c.all, c.until.Sub(now)
	d.mu.Unlock()
	if !away || !gathering {
		return nil
	}
	if all != nil {
		select {
		case <-all:
		case <-time.After(wait):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case <-time.After(min(crowdSettle, d.cfg.Grace/2)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// trustPods takes back what markAway said of the pods of a node that did not start
// anew since: they are as they were, or its agent will tell.
func trustPods(tx *store.Tx, old, said *corev1.Node) {
	if old.Status.NodeInfo.BootID != said.Status.NodeInfo.BootID {
		return
	}
	var keys []object.Key
	for row := range tables.Pods.By(tx, tables.PodsByNode, old.Name) {
		if h := row.Head(); !h.Ready && !h.Ended() {
			keys = append(keys, row.Key())
		}
	}
	at := metav1.NewTime(tx.Now().Truncate(time.Second))
	for _, key := range keys {
		old, _ := tables.Pods.Get(tx, key)
		pod := *old
		if readyAgain(&pod, at) {
			tables.Pods.Put(tx, &pod)
		}
	}
}
