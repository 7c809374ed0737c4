package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// report is what we read of ginkgo's JSON report.
type report []struct {
	SpecReports []specReport
}

type specReport struct {
	ContainerHierarchyTexts []string
	LeafNodeText            string
	LeafNodeType            string
	State                   string
	Failure                 struct {
		Message  string
		Location struct {
			FileName   string
			LineNumber int
		}
	}
}

func (s specReport) name() string {
	return strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
}

// graceAfterLimit is what a spec that ran into its limit has to clean up.
const graceAfterLimit = 45 * time.Second

// list returns the names of the specs that focus and skip leave, sorted.
func list(ctx context.Context, c config) ([]string, error) {
	file := filepath.Join(c.out, "list.json")
	cmd := exec.CommandContext(ctx, c.suite, "--ginkgo.dry-run", "--ginkgo.focus="+c.focus, "--ginkgo.skip="+c.skip,
		"--ginkgo.json-report="+file, "--ginkgo.silence-skips", "--provider=skeleton")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("listing the suite's specs: %w: %s", err, tail(string(out), 500))
	}
	defer os.Remove(file)
	rep, err := read(file)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range rep {
		if s.LeafNodeType == "It" && s.State == passed {
			names = append(names, s.name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func read(file string) ([]specReport, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var all []specReport
	for _, suite := range r {
		all = append(all, suite.SpecReports...)
	}
	return all, nil
}

// each runs the specs, procs at a time and serial ones alone at the end, and
// hands every result to done, one at a time.
func each(ctx context.Context, c config, names []string, done func(string, result) error) error {
	serial := func(n string) bool { return strings.Contains(n, "[Serial]") }
	alone := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !serial(n) })
	beside := slices.DeleteFunc(slices.Clone(names), serial)
	var mu sync.Mutex
	var errs []error
	count := 0
	tell := func(name string, r result) {
		mu.Lock()
		defer mu.Unlock()
		count++
		fmt.Fprintf(os.Stderr, "%3d/%d %-8s %6.1fs %s\n", count, len(names), r.State, r.Seconds, name)
		errs = append(errs, done(name, r))
	}
	phase := func(names []string, procs int) {
		queue := make(chan string, len(names))
		for _, n := range names {
			queue <- n
		}
		close(queue)
		var wg sync.WaitGroup
		for range procs {
			wg.Go(func() {
				for n := range queue {
					if ctx.Err() != nil {
						return
					}
					if r, err := one(ctx, c, n); err == nil {
						tell(n, r)
					}
				}
			})
		}
		wg.Wait()
	}
	phase(beside, max(c.procs, 1))
	phase(alone, 1)
	return errors.Join(append(errs, ctx.Err())...)
}

// one runs a spec. The error says that it was not run to its end.
func one(ctx context.Context, c config, name string) (result, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:6])
	base := filepath.Join(c.out, "logs", id)
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return result{}, err
	}
	log, err := os.Create(base + ".log")
	if err != nil {
		return result{}, err
	}
	defer log.Close()
	defer os.Remove(base + ".json")
	cmd := exec.CommandContext(ctx, c.suite,
		"--ginkgo.focus="+regexp.QuoteMeta(name)+"$", "--ginkgo.timeout="+c.limit.String(), "--ginkgo.grace-period="+graceAfterLimit.String(),
		"--ginkgo.json-report="+base+".json", "--ginkgo.no-color", "--ginkgo.silence-skips", "--ginkgo.v",
		"--provider=skeleton", "--kubeconfig="+c.kubeconfig, "--kubectl-path="+c.kubectl,
		"--node-schedulable-timeout=30s", "--system-pods-startup-timeout=30s", "--disable-log-dump")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it cleans up after itself
	cmd.WaitDelay = graceAfterLimit
	began := time.Now()
	runErr := cmd.Run()
	if ctx.Err() != nil {
		return result{}, ctx.Err()
	}
	r := result{Seconds: time.Since(began).Seconds(), Log: filepath.Join("logs", id+".log")}
	specs, err := read(base + ".json")
	if err != nil {
		r.State, r.Message = failed, fmt.Sprintf("no report (%v): %v", runErr, err)
		return r, nil
	}
	r.judge(specs)
	return r, nil
}

// judge takes the state and the reason from the suite's report.
func (r *result) judge(specs []specReport) {
	r.State, r.Message = failed, "the suite did not run it"
	for _, s := range specs {
		if s.LeafNodeType != "It" && s.State == "failed" { // before or after the suite
			r.State, r.Message = failed, s.LeafNodeType+": "+tail(s.Failure.Message, 2000)
			return
		}
		if s.LeafNodeType != "It" || (s.State == skipped && s.Failure.Message == "") {
			continue // not this spec, or left out by the focus
		}
		r.State, r.Message = s.State, tail(s.Failure.Message, 2000)
		if s.Failure.Location.FileName != "" {
			_, file, _ := strings.Cut(s.Failure.Location.FileName, "/test/e2e/")
			r.Where = fmt.Sprintf("%s:%d", file, s.Failure.Location.LineNumber)
		}
		if s.State != passed && s.State != skipped && s.State != timedOut {
			r.State = failed // panicked, interrupted, aborted
		}
	}
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n/2] + " … " + s[len(s)-n/2:]
}
