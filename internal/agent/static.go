package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/static"
	"trireme/internal/object"
	"trireme/internal/wire"
)

// staticEvery is how often the directory of static pods is looked at.
const staticEvery = time.Second

// remirrorAfter is how long the row of a static pod that somebody deleted stays away, as
// with a kubelet, which makes it in its next round: whoever waits for its end sees it.
const remirrorAfter = 2 * time.Second

// mirroring is a session that knows static pods by their mirrors.
type mirroring struct {
	session
	set *static.Set
}

// ReportPod implements session.
func (m mirroring) ReportPod(r wire.PodReport) {
	if r, ok := m.set.Report(r); ok {
		m.session.ReportPod(r)
	}
}

// ReportEvent implements session.
func (m mirroring) ReportEvent(e *corev1.Event) {
	o := &e.InvolvedObject
	o.UID = m.set.Mirror(object.Key{Namespace: o.Namespace, Name: o.Name}, o.UID)
	m.session.ReportEvent(e)
}

// assign takes what a manager says this node has to run.
func (a *Agent) assign(ctx context.Context, full bool, items []wire.Item) error {
	a.assigning.Lock()
	defer a.assigning.Unlock()
	items, say, again := a.static.Rewrite(full, items)
	a.take(ctx, full, items)
	if full {
		a.mu.Lock()
		a.fullSeen = true
		a.mu.Unlock()
		a.relistSoon() // which ends what is assigned no more
	}
	for _, r := range say {
		a.session.ReportPod(r)
	}
	switch {
	case again && full:
		a.session.ReportMirrors(a.static.Mirrors())
	case again:
		a.mu.Lock()
		a.remirrorAt = time.Now().Add(remirrorAfter)
		a.mu.Unlock()
	}
	return nil
}

// scanStatic assigns what the manifests of static pods say now.
func (a *Agent) scanStatic(ctx context.Context) {
	items, changed, err := a.static.Scan()
	if err != nil {
		a.cfg.Log.Error("reading static pods", "err", err)
		a.nodeEvent(corev1.EventTypeWarning, "InvalidStaticPod", err.Error())
	}
	if len(items) > 0 {
		a.assigning.Lock()
		a.take(ctx, false, items)
		a.assigning.Unlock()
	}
	if a.remirror() || changed {
		a.session.ReportMirrors(a.static.Mirrors())
	}
}

// remirror reports whether a row that was deleted is to be made again now.
func (a *Agent) remirror() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	due := !a.remirrorAt.IsZero() && !time.Now().Before(a.remirrorAt)
	if due {
		a.remirrorAt = time.Time{}
	}
	return due
}

func (a *Agent) staticLoop(ctx context.Context) error {
	t := time.NewTicker(staticEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		a.scanStatic(ctx)
	}
}
