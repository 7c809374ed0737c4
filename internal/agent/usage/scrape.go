package usage

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/scrape"
	"trireme/internal/agent/stream"
)

// atOnce is how many pods are scraped at a time.
const atOnce = 16

// Scrape adds to the summary what pods show of themselves, where their annotations name
// an endpoint.
func (m *Meter) Scrape(ctx context.Context, sum *stream.Summary) {
	pods := map[string]*corev1.Pod{}
	for _, p := range m.All() {
		pods[string(p.UID)] = p
	}
	room := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range sum.Pods {
		p := &sum.Pods[i]
		pod := pods[p.PodRef.UID]
		if pod == nil || len(p.Containers) == 0 {
			continue
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			series, err := m.series(ctx, pod)
			if err != nil {
				p.ScrapeError = err.Error()
			}
			p.UserDefinedMetrics = series
		})
	}
	wg.Wait()
}

// series returns what one pod shows; nil where it names no endpoint.
func (m *Meter) series(ctx context.Context, pod *corev1.Pod) ([]scrape.Series, error) {
	u, err := scrape.EndpointOf(pod)
	if u == nil || err != nil {
		return nil, err
	}
	t := scrape.Target{URL: u}
	if m.Tree != nil {
		t.Process = m.Tree.Process(pod)
	}
	return t.Get(ctx)
}
