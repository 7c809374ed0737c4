// Command conformance runs specs of Kubernetes' end-to-end suite one by one
// against a cluster, and keeps the last result of each, so that a rerun can do
// the failed ones alone.
//
//	conformance -suite e2e.test -kubeconfig FILE -out DIR -focus '\[sig-apps\].*\[Conformance\]' -only failed
//
// Each spec is a process of its own with a limit of its own: the suite waits for
// minutes where something is missing, and its own limits cannot be set. Serial
// specs run alone. In DIR: results.json, the last result of every spec; logs/,
// what the specs printed. The summary goes to stdout, progress to stderr. It
// exits with 1 where a spec of this run failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

type config struct {
	suite, kubeconfig, kubectl, out string
	focus, skip, only               string
	procs                           int
	limit                           time.Duration
	summary                         bool
}

func main() {
	var c config
	flag.StringVar(&c.suite, "suite", "", "the suite's binary, e2e.test")
	flag.StringVar(&c.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "how to reach the cluster")
	flag.StringVar(&c.kubectl, "kubectl", "kubectl", "the kubectl of the specs that call one")
	flag.StringVar(&c.out, "out", "build/conformance", "where results.json and logs/ are kept")
	flag.StringVar(&c.focus, "focus", `\[Conformance\]`, "regular expression of the specs to run")
	flag.StringVar(&c.skip, "skip", "", "regular expression of specs to leave out")
	flag.StringVar(&c.only, "only", "all", "all, failed (last time), missing (never run), todo (not passed yet)")
	flag.IntVar(&c.procs, "procs", 2, "specs at a time")
	flag.DurationVar(&c.limit, "limit", 6*time.Minute, "time a spec may take")
	flag.BoolVar(&c.summary, "summary", false, "run nothing, print the summary of the kept results")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := c.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func (c config) run(ctx context.Context) error {
	kept, err := load(c.out)
	if err != nil {
		return err
	}
	names, err := list(ctx, c)
	if err != nil {
		return err
	}
	if c.summary {
		summarise(os.Stdout, names, kept)
		return nil
	}
	todo, err := choose(names, kept, c.only)
	if err != nil {
		return err
	}
	bad := 0
	err = each(ctx, c, todo, func(name string, r result) error {
		kept[name] = r
		if r.State == failed || r.State == timedOut {
			bad++
		}
		return kept.save(c.out)
	})
	summarise(os.Stdout, names, kept)
	if bad > 0 {
		err = errors.Join(err, fmt.Errorf("%d of the %d specs run failed", bad, len(todo)))
	}
	return err
}

// choose returns the names that the last results leave to do.
func choose(names []string, kept results, only string) ([]string, error) {
	var out []string
	for _, n := range names {
		last, ran := kept[n]
		var want bool
		switch only {
		case "all":
			want = true
		case "failed":
			want = ran && (last.State == failed || last.State == timedOut)
		case "missing":
			want = !ran
		case "todo":
			want = !ran || last.State != passed
		default:
			return nil, fmt.Errorf("-only %s: want all, failed, missing or todo", only)
		}
		if want {
			out = append(out, n)
		}
	}
	return out, nil
}

var sig = regexp.MustCompile(`\[(sig-[a-z-]+)\]`)

// sigOf returns the special interest group that owns the spec.
func sigOf(name string) string {
	if m := sig.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return "no sig"
}
