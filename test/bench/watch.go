package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/test/cluster"
)

// fanout measures how long after a write each of 1,000 watchers of the object has
// the whole event. Writer and watchers are one process: one clock.
func fanout(ctx context.Context, c *config) ([]line, error) {
	var lines []line
	err := host(ctx, c, []string{"--no-agent"}, func(ctx context.Context, h *cluster.Host, _ time.Time) error {
		if _, err := client(ctx, h); err != nil {
			return err
		}
		if _, err := h.Kubectl(ctx, "create", "configmap", "bench", "--from-literal=a=0"); err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		const watchers, writes = 1000, 50
		profiled := make(chan error, 1)
		go func() { profiled <- c.profile(ctx, h, "watch", "profile?seconds=20") }()
		out, err := h.Run(ctx, self, "watch", "-watchers", strconv.Itoa(watchers), "-writes", strconv.Itoa(writes), "-server", strconv.Itoa(h.Pid()))
		if err != nil {
			return err
		}
		if err := <-profiled; err != nil {
			return err
		}
		var detail map[string]any
		if err := json.Unmarshal([]byte(out), &detail); err != nil {
			return err
		}
		lines = []line{{"watch_fanout_p99_ms", detail["p99_ms"].(float64), "ms", detail}}
		return nil
	})
	return lines, err
}

// watchClient is the sub-command: watchers of one ConfigMap, and a writer.
func watchClient(args []string) error {
	f := flag.NewFlagSet("watch", flag.ContinueOnError)
	watchers, writes := f.Int("watchers", 1000, ""), f.Int("writes", 50, "")
	server := f.Int("server", 0, "the server's process: its CPU time is told apart from the watchers'")
	if err := f.Parse(args); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return err
	}
	config.QPS = -1 // no limit: the client's own would be measured
	cs, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a := audience{at: make([][]time.Time, *watchers)}
	if err := a.gather(ctx, tls, config.Host, *writes); err != nil {
		return err
	}
	theirs, ours, err := cpuOf(*server)
	if err != nil {
		return err
	}
	written, took := make([]time.Time, *writes), make([]time.Duration, *writes)
	for i := range *writes {
		written[i] = time.Now()
		patch := fmt.Sprintf(`{"data":{"a":"%d"}}`, i+1)
		if _, err := cs.CoreV1().ConfigMaps("default").Patch(ctx, "bench", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			return err
		}
		took[i] = time.Since(written[i])
		time.Sleep(100 * time.Millisecond) // each write on its own, as far as the machine keeps up
	}
	a.wg.Wait()
	cancel()
	theirsAfter, oursAfter, err := cpuOf(*server)
	if err != nil {
		return err
	}
	told := float64(*watchers * *writes)
	var all []time.Duration
	for _, at := range a.at {
		if len(at) != *writes {
			return fmt.Errorf("a watcher was told of %d of %d writes: %w", len(at), *writes, errors.Join(a.errs...))
		}
		for i, t := range at {
			all = append(all, t.Sub(written[i]))
		}
	}
	slices.Sort(all)
	slices.Sort(took)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"watchers": *watchers, "writes": *writes, "p50_ms": ms(all[len(all)/2]), "p99_ms": ms(all[len(all)*99/100]), "max_ms": ms(all[len(all)-1]),
		"write_p50_ms": ms(took[len(took)/2]), "server_cpu_us": (theirsAfter - theirs) / told * 1e6, "client_cpu_us": (oursAfter - ours) / told * 1e6,
	})
}

// cpuOf returns the CPU time of the server and of this process, in seconds.
func cpuOf(server int) (theirs, ours float64, err error) {
	if theirs, err = cpuSeconds(server); err != nil {
		return 0, 0, err
	}
	ours, err = cpuSeconds(os.Getpid())
	return theirs, ours, err
}

// audience is many watchers and when each was told what.
type audience struct {
	wg   sync.WaitGroup
	at   [][]time.Time
	mu   sync.Mutex
	errs []error
}

// gather opens the watches, each on a connection of its own, and returns when all
// are open. The watch sends the object as it is first: that is how a watcher knows
// that it is there.
func (a *audience) gather(ctx context.Context, tls *tls.Config, host string, writes int) error {
	open := make(chan error)
	for i := range a.at {
		a.wg.Go(func() {
			err := watchOne(ctx, tls.Clone(), host, open, func() bool {
				a.at[i] = append(a.at[i], time.Now())
				return len(a.at[i]) < writes
			})
			if err != nil {
				a.mu.Lock()
				a.errs = append(a.errs, err)
				a.mu.Unlock()
			}
		})
		if err := <-open; err != nil {
			return err
		}
	}
	return nil
}

func watchOne(ctx context.Context, tls *tls.Config, host string, open chan<- error, told func() bool) error {
	tls.NextProtos = []string{"http/1.1"}
	c := http.Client{Transport: &http.Transport{TLSClientConfig: tls}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, host+"/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Dbench", nil)
	if err != nil {
		open <- err
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		open <- err
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	first := true
	for lines.Scan() {
		switch {
		case first:
			first = false
			open <- nil
		case strings.HasPrefix(lines.Text(), `{"type":"MODIFIED"`):
			if !told() {
				return nil
			}
		}
	}
	if first {
		open <- fmt.Errorf("the watch said nothing: %s %w", resp.Status, lines.Err())
	}
	return lines.Err()
}
