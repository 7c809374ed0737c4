package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Load is a steady stream of requests to one URL from one place. Half of the
// clients connect anew for each request, the others keep their connections.
type Load struct {
	From    Place
	URL     string
	Clients int           // 0: 8
	Every   time.Duration // between the requests of a client; 0: 20 ms
	Limit   time.Duration // a request that takes longer has failed; 0: 5 s
}

// Outcome is what became of the requests of a Load.
type Outcome struct {
	Requests, Failed int
	Resets           int // of Failed: the other side broke the connection
	Slowest          time.Duration
	Errors           map[string]int // the first 20 different ones
	Answers          map[string]int // bodies
}

// Run makes requests until ctx ends; requests under way then are not counted.
func (l Load) Run(ctx context.Context) Outcome {
	if l.Clients == 0 {
		l.Clients = 8
	}
	if l.Every == 0 {
		l.Every = 20 * time.Millisecond
	}
	if l.Limit == 0 {
		l.Limit = 5 * time.Second
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := Outcome{Errors: map[string]int{}, Answers: map[string]int{}}
	for i := range l.Clients {
		wg.Go(func() {
			transport := &http.Transport{DialContext: l.From.Dial, DisableKeepAlives: i%2 == 0}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: l.Limit}
			tick := time.NewTicker(l.Every)
			defer tick.Stop()
			for {
				began := time.Now()
				body, err := Get(ctx, client, l.URL)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				total.add(body, err, time.Since(began))
				mu.Unlock()
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
	return total
}

func (o *Outcome) add(body string, err error, took time.Duration) {
	o.Requests++
	o.Slowest = max(o.Slowest, took)
	if err == nil {
		o.Answers[body]++
		return
	}
	o.Failed++
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		o.Resets++
	}
	if text := err.Error(); o.Errors[text] > 0 || len(o.Errors) < 20 {
		o.Errors[text]++
	}
}

// String says it in one paragraph.
func (o Outcome) String() string {
	s := fmt.Sprintf("%d requests, %d failed, %d of them by a reset, the slowest %s", o.Requests, o.Failed, o.Resets, o.Slowest)
	for _, e := range slices.Sorted(maps.Keys(o.Errors)) {
		s += fmt.Sprintf("\n  %d × %s", o.Errors[e], e)
	}
	return s
}

// Get returns what a server answers with the status 200.
func Get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", url, resp.Status, body)
	}
	return string(body), err
}
