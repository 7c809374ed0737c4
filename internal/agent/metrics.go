package agent

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/scrape"
	"trireme/internal/agent/stream"
)

// scrapeAtOnce is how many pods are scraped at a time.
const scrapeAtOnce = 16

// scrape adds to the summary what pods show of themselves, where their annotations name
// an endpoint.
func (a *Agent) scrape(ctx context.Context, sum *stream.Summary) {
	workers := a.allWorkers()
	room := make(chan struct{}, scrapeAtOnce)
	var wg sync.WaitGroup
	for i := range sum.Pods {
		p := &sum.Pods[i]
		w := workers[types.UID(p.PodRef.UID)]
		if w == nil || len(p.Containers) == 0 {
			continue
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			series, err := a.series(ctx, w)
			if err != nil {
				p.ScrapeError = err.Error()
			}
			p.UserDefinedMetrics = series
		})
	}
	wg.Wait()
}

// series returns what one pod shows; nil where it names no endpoint.
func (a *Agent) series(ctx context.Context, w *worker) ([]scrape.Series, error) {
	w.shown.mu.Lock()
	pod := w.shown.pod
	w.shown.mu.Unlock()
	if pod == nil {
		return nil, nil
	}
	u, err := scrape.EndpointOf(pod)
	if u == nil || err != nil {
		return nil, err
	}
	t := scrape.Target{URL: u}
	if tree, ok := a.cgroups.(*cgroup.Tree); ok {
		t.Process = tree.Process(pod)
	}
	return t.Get(ctx)
}
