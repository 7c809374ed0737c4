// Command bench measures what docs/performance.md reports. It prints one JSON
// line a figure on stdout, {"bench":…,"value":…,"unit":…,"detail":{…}}, and
// progress on stderr. It never fails on a time.
//
//	bench [NAME...]     run the named benchmarks, or all
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"trireme/test/cluster"
	"trireme/test/placing"
)

// line is one figure.
type line struct {
	Bench  string         `json:"bench"`
	Value  float64        `json:"value"`
	Unit   string         `json:"unit"`
	Detail map[string]any `json:"detail"`
}

// config is what a benchmark may be told.
type config struct {
	binary      string
	nodes, pods int
	updates     int           // of mesos_updates_1m_s
	starts      int           // pods of pod_start_vs_cri
	churn       time.Duration // how long churn_cpu_cores measures
	limit       time.Duration // how long one benchmark may take
	profiles    string        // folder for the server's profiles; empty: none
}

// sized returns the configuration with the sizes that a benchmark has where none are asked for.
func (c *config) sized(nodes, pods int) *config {
	out := *c
	out.nodes, out.pods = cmp.Or(c.nodes, nodes), cmp.Or(c.pods, pods)
	return &out
}

// thousand is 10,000 pods on 1,000 nodes, the size of most benchmarks of the path.
func thousand(run func(context.Context, *config) ([]line, error)) func(context.Context, *config) ([]line, error) {
	return func(ctx context.Context, c *config) ([]line, error) { return run(ctx, c.sized(1_000, 10_000)) }
}

// benchmark makes one or more lines.
type benchmark struct {
	names []string
	run   func(ctx context.Context, c *config) ([]line, error)
}

func benchmarks() []benchmark {
	var alone []benchmark
	for _, c := range placing.Cases() {
		alone = append(alone, benchmark{[]string{c.Name}, engineCase(c)})
	}
	return append(alone, []benchmark{
		{[]string{"ready_s", "idle_rss_mb"}, ready},
		{[]string{"path_1k_10k_bound_per_s", "path_1k_10k_running_per_s"}, thousand(path("path_1k_10k", oneDeployment))},
		{[]string{"path_1k_100x100_bound_per_s", "path_1k_100x100_running_per_s"}, thousand(path("path_1k_100x100", hundredDeployments))},
		{[]string{"path_1k_bare_bound_per_s", "path_1k_bare_running_per_s"}, thousand(path("path_1k_bare", barePods))},
		{[]string{"path_rollout_10k_s"}, thousand(replaceAll)},
		{[]string{"path_5k_150k_s", "node_death_s"}, path150k},
		{[]string{"path_10k_1m_s"}, path1m},
		{[]string{"churn_cpu_cores"}, churn},
		{[]string{"failover_s"}, takeOver},
		{[]string{"docker_10k_running_s"}, thousand(dockerFleet)},
		{[]string{"pod_start_vs_cri"}, podStart},
		{[]string{"containers_per_s_vs_cri"}, containers},
		{[]string{"configmap_creates_per_s", "configmap_gets_per_s"}, api},
		{[]string{"watch_fanout_p99_ms"}, fanout},
		{[]string{"list_10k_pods_ms", "rss_10k_pods_mb"}, manyPods(10_000)},
		{[]string{"rss_100k_pods_mb"}, manyPods(100_000)},
		{[]string{"services_full_sync_s", "endpoint_update_ms"}, manyServices},
		{[]string{"vip_conn_ratio"}, connections},
		{[]string{"ingress_requests_per_s"}, ingress},
		{[]string{"rollout_failed_requests"}, rollout},
		{[]string{"log_follower_kb"}, followers},
		{[]string{"docker_50_real_time_ratio", "docker_50_real_mem_ratio"}, swarms},
		{[]string{"offer_cycle_10k_1k_s"}, offerCycle},
		{[]string{"drf_error_pct"}, drfError},
		{[]string{"offer_tasks_per_s"}, thousand(offerTasks)},
		{[]string{"mesos_updates_1m_s"}, thousand(manyUpdates)},
		{[]string{"delay_locality_pct"}, delayLocality},
		{[]string{"engine_slope"}, engineSlope},
		{[]string{"preemption_per_s"}, preemption},
		{[]string{"compaction_pct"}, compaction},
		{[]string{"engine_misfits_ratio"}, misfitsRatio},
	}...)
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "cri-baseline" {
		os.Exit(exit(criBaseline(os.Args[2])))
	}
	if len(os.Args) == 3 && os.Args[1] == "containers" {
		os.Exit(exit(startContainers(os.Args[2])))
	}
	if len(os.Args) > 1 && os.Args[1] == "load" {
		os.Exit(exit(loadClient(os.Args[2:])))
	}
	if len(os.Args) > 1 && os.Args[1] == "watch" {
		os.Exit(exit(watchClient(os.Args[2:])))
	}
	if len(os.Args) == 3 && os.Args[1] == "request" {
		os.Exit(exit(requestClient(os.Args[2])))
	}
	if len(os.Args) == 4 && os.Args[1] == "connect" {
		os.Exit(exit(connectClient(os.Args[2:])))
	}
	c := config{}
	flag.StringVar(&c.binary, "binary", "bin/trireme", "the binary to measure")
	flag.IntVar(&c.nodes, "nodes", 0, "hollow nodes; 0: what the benchmark is named for")
	flag.IntVar(&c.pods, "pods", 0, "pods, replicas or tasks; 0: as above")
	flag.IntVar(&c.updates, "updates", 1_000_000, "updates of mesos_updates_1m_s")
	flag.IntVar(&c.starts, "starts", 20, "pods started one after another")
	flag.DurationVar(&c.churn, "churn", time.Minute, "how long churn_cpu_cores measures")
	flag.DurationVar(&c.limit, "limit", 20*time.Minute, "how long one benchmark may take")
	flag.StringVar(&c.profiles, "profiles", "", "folder to keep the server's heap and CPU profiles in")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	os.Exit(exit(run(ctx, &c, flag.Args())))
}

func exit(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	return 1
}

func run(ctx context.Context, c *config, want []string) error {
	var err error
	if c.binary, err = filepath.Abs(c.binary); err != nil {
		return err
	}
	if _, err := os.Stat(c.binary); err != nil {
		return fmt.Errorf("%w: run make build first", err)
	}
	var known []string
	var failed error
	for _, b := range benchmarks() {
		known = append(known, b.names...)
		if len(want) > 0 && !slices.ContainsFunc(want, func(w string) bool { return slices.Contains(b.names, w) }) {
			continue
		}
		fmt.Fprintf(os.Stderr, "== %s\n", strings.Join(b.names, " "))
		lines, err := b.run(ctx, c)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", strings.Join(b.names, " "), err))
		}
		for _, l := range lines {
			if l.Bench == "" || len(want) > 0 && !slices.Contains(want, l.Bench) {
				continue // it was not measured, or nobody asked
			}
			if err := json.NewEncoder(os.Stdout).Encode(l); err != nil {
				return err
			}
		}
	}
	for _, w := range want {
		if !slices.Contains(known, w) {
			failed = errors.Join(failed, fmt.Errorf("no benchmark %q: there are %s", w, strings.Join(known, ", ")))
		}
	}
	return failed
}

// host runs f on a fresh test machine on which up was started with args.
func host(ctx context.Context, c *config, args []string, f func(ctx context.Context, h *cluster.Host, started time.Time) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	cl, err := cluster.New(ctx, cluster.Config{Hosts: 1, Binary: c.binary})
	if err != nil {
		return err
	}
	h := cl.Hosts[0]
	started := time.Now()
	if err = h.Start(append([]string{"up"}, args...)...); err == nil {
		err = f(ctx, h, started)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, h.LogTail(400))
	}
	return errors.Join(err, cl.Close())
}

// profile keeps one of the server's profiles (net/http/pprof), if profiles are
// asked for.
func (c *config) profile(ctx context.Context, h *cluster.Host, name, what string) error {
	if c.profiles == "" {
		return nil
	}
	b, err := h.Kubectl(ctx, "get", "--raw", "/debug/pprof/"+what)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.profiles, name+".pprof"), []byte(b), 0o644)
}
