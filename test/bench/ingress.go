package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/test/cluster"
)

const (
	requestRounds  = 5
	requestSeconds = 2 // of each round, to either address
	requestClients = 16
)

// ingress measures how many requests a second a pod answers through the node's proxy,
// beside those straight to its address, over connections that are kept, and what each
// costs trireme in CPU time. The two take turns, so that both meet the same noise.
func ingress(ctx context.Context, c *config) ([]line, error) {
	var l line
	err := host(ctx, c, nil, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		if err := h.Ready(ctx); err != nil {
			return err
		}
		cs, err := client(ctx, h)
		if err != nil {
			return err
		}
		web, err := webService(ctx, h, cs)
		if err != nil {
			return err
		}
		if _, err := cs.NetworkingV1().Ingresses("default").Create(ctx, &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{
				Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
			}},
		}, metav1.CreateOptions{}); err != nil {
			return err
		}
		through := "http://" + h.Address + "/"
		asks := &http.Client{Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}}
		if err := h.Await(ctx, "the ingress answers", func() error {
			_, err := cluster.Get(ctx, asks, through)
			return err
		}); err != nil {
			return err
		}
		l, err = compareRequests(ctx, h, "http://"+web.direct+"/", through)
		return err
	})
	return []line{l}, err
}

func compareRequests(ctx context.Context, h *cluster.Host, direct, through string) (line, error) {
	var straight, proxied []requested
	var cpu time.Duration
	requests := 0
	for range requestRounds {
		r, err := request(ctx, h, direct)
		if err != nil {
			return line{}, err
		}
		straight = append(straight, r)
		took, err := cpuOver(h.Pid(), func() error {
			r, err = request(ctx, h, through)
			return err
		})
		if err != nil {
			return line{}, err
		}
		proxied = append(proxied, r)
		cpu += took
		requests += r.Requests
	}
	d, p := medianRound(straight), medianRound(proxied)
	return line{"ingress_requests_per_s", p.PerSecond, "requests/s", map[string]any{
		"direct_per_s": d.PerSecond, "p50_ms": p.P50MS, "p99_ms": p.P99MS, "direct_p50_ms": d.P50MS, "direct_p99_ms": d.P99MS,
		"cpu_s": cpu.Seconds(), "requests": requests, "cpu_us_per_request": ms(cpu) * 1000 / float64(requests), "clients": requestClients,
	}}, nil
}

// medianRound returns the round with the median of requests a second.
func medianRound(all []requested) requested {
	slices.SortFunc(all, func(a, b requested) int { return a.Requests - b.Requests })
	return all[len(all)/2]
}

func request(ctx context.Context, h *cluster.Host, url string) (r requested, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	out, err := h.Run(ctx, self, "request", url)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(out), &r)
}

// requested is what the sub-command prints.
type requested struct {
	Requests  int     `json:"requests"`
	PerSecond float64 `json:"perSecond"`
	P50MS     float64 `json:"p50Ms"`
	P99MS     float64 `json:"p99Ms"`
}

// requestClient is the sub-command: its clients ask for a URL, each over a connection of
// its own that it keeps.
func requestClient(url string) error {
	var mu sync.Mutex
	var all []time.Duration
	began := time.Now()
	var g errgroup.Group
	for range requestClients {
		g.Go(func() error {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			var took []time.Duration
			for time.Since(began) < requestSeconds*time.Second {
				at := time.Now()
				if _, err := cluster.Get(context.Background(), client, url); err != nil {
					return err
				}
				took = append(took, time.Since(at))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	over := time.Since(began)
	slices.Sort(all)
	return json.NewEncoder(os.Stdout).Encode(requested{
		Requests: len(all), PerSecond: float64(len(all)) / over.Seconds(), P50MS: ms(all[len(all)/2]), P99MS: ms(all[len(all)*99/100]),
	})
}
