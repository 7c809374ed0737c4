package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/test/cluster"
)

const (
	followerCount = 10_000
	followerLines = 20
	followerPause = 500 * time.Millisecond // between lines, if all have them by then
)

// followers measures clients that follow one container's log through the API: the memory
// of trireme for each, what they cost while nothing is written, and how long a line takes
// to all of them.
func followers(ctx context.Context, c *config) ([]line, error) {
	var l line
	err := host(ctx, c, nil, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		if err := h.Ready(ctx); err != nil {
			return err
		}
		log, url, err := talker(ctx, h)
		if err != nil {
			return err
		}
		l, err = follow(ctx, c, h, &crowd{log: log, url: url})
		return err
	})
	return []line{l}, err
}

// talker makes a pod that has written one line, and returns the file of its log and
// where it is followed.
func talker(ctx context.Context, h *cluster.Host) (log, url string, err error) {
	cs, err := client(ctx, h)
	if err != nil {
		return "", "", err
	}
	if _, err := cs.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "talker"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: webImage}}},
	}, metav1.CreateOptions{}); err != nil {
		return "", "", err
	}
	err = h.Await(ctx, "the pod has written a line", func() error {
		found, err := filepath.Glob(filepath.Join(h.Root, "logs/pods/default_talker_*/web/0.log"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("its logs are %v: %w", found, err)
		}
		log = found[0]
		if st, err := os.Stat(log); err != nil || st.Size() == 0 {
			return fmt.Errorf("its log is empty: %w", err)
		}
		return nil
	})
	config, configErr := clientcmd.BuildConfigFromFlags("", h.Kubeconfig())
	if configErr != nil {
		return "", "", configErr
	}
	return log, config.Host + "/api/v1/namespaces/default/pods/talker/log?follow=true", err
}

// crowd is many clients that follow one log over few connections.
type crowd struct {
	log, url string
	read     atomic.Int64 // lines, of all
}

func follow(ctx context.Context, c *config, h *cluster.Host, w *crowd) (line, error) {
	config, err := clientcmd.BuildConfigFromFlags("", h.Kubeconfig())
	if err != nil {
		return line{}, err
	}
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return line{}, err
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: tls, DialContext: h.Dial, ForceAttemptHTTP2: true, MaxConnsPerHost: 16}}
	settle := func() (map[string]float64, error) {
		time.Sleep(2 * idleFor) // a process that was busy gives back what it needed when it is quiet
		return memory(h.Pid())
	}
	alone, err := settle()
	if err != nil {
		return line{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, followCtx := errgroup.WithContext(ctx)
	for range followerCount {
		g.Go(func() error { return w.follow(followCtx, web) })
	}
	if err := w.reached(followCtx, followerCount); err != nil {
		return line{}, err
	}
	crowded, err := settle()
	if err != nil {
		return line{}, err
	}
	if err := c.profile(ctx, h, "followers", "heap"); err != nil {
		return line{}, err
	}
	before, _ := cpuSeconds(h.Pid())
	time.Sleep(idleFor)
	idle, _ := cpuSeconds(h.Pid())
	took, err := w.write(followCtx)
	if err != nil {
		return line{}, err
	}
	after, err := cpuSeconds(h.Pid())
	if err != nil {
		return line{}, err
	}
	cancel()
	_ = g.Wait() // they end because they are told to
	return line{"log_follower_kb", (crowded["VmRSS"] - alone["VmRSS"]) * 1000 / followerCount, "KB", map[string]any{
		"followers": followerCount, "alone_mb": alone["VmRSS"], "crowded_mb": crowded["VmRSS"], "peak_mb": crowded["VmHWM"],
		"idle_cpu_percent": (idle - before) / idleFor.Seconds() * 100, "line_cpu_us": (after - idle) / followerCount / followerLines * 1e6,
		"line_p50_ms": ms(took[len(took)/2]), "line_max_ms": ms(took[len(took)-1]),
	}}, nil
}

// follow counts the lines that one client reads, until ctx ends.
func (w *crowd) follow(ctx context.Context, web *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return err
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReaderSize(resp.Body, 256)
	for {
		if _, err := lines.ReadSlice('\n'); err != nil {
			return fmt.Errorf("%s: %w", resp.Status, err)
		}
		w.read.Add(1)
	}
}

// write appends lines to the log, and returns how long each took until all had it.
func (w *crowd) write(ctx context.Context) ([]time.Duration, error) {
	f, err := os.OpenFile(w.log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var took []time.Duration
	for i := range int64(followerLines) {
		began := time.Now()
		if _, err := fmt.Fprintf(f, "%s stdout F a line of the usual length, such as a server writes of a request %d\n", began.UTC().Format(time.RFC3339Nano), i); err != nil {
			return nil, err
		}
		if err := w.reached(ctx, (i+2)*followerCount); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
		time.Sleep(followerPause - time.Since(began))
	}
	slices.Sort(took)
	return took, nil
}

// reached waits until so many lines have been read.
func (w *crowd) reached(ctx context.Context, lines int64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for w.read.Load() < lines {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d lines were read: %w", w.read.Load(), lines, context.Cause(ctx))
		}
	}
	return nil
}
