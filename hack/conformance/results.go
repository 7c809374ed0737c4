package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// The states of a spec, in ginkgo's words.
const (
	passed   = "passed"
	failed   = "failed"
	timedOut = "timedout"
	skipped  = "skipped"
)

// result is how a spec ended the last time.
type result struct {
	State   string  `json:"state"`
	Seconds float64 `json:"seconds"`
	Message string  `json:"message,omitempty"`
	Where   string  `json:"where,omitempty"`
	Log     string  `json:"log"` // below the folder of the results
}

// results are the last results, by the spec's full name.
type results map[string]result

func load(dir string) (results, error) {
	r := results{}
	b, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(b, &r)
}

func (r results) save(dir string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "results.json.new")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "results.json"))
}

// summarise prints a row a sig over the named specs, and those that did not pass.
func summarise(w io.Writer, names []string, kept results) {
	type row struct{ passed, failed, skipped, notRun int }
	rows := map[string]*row{}
	var total row
	for _, n := range names {
		s := sigOf(n)
		if rows[s] == nil {
			rows[s] = &row{}
		}
		for _, r := range []*row{rows[s], &total} {
			switch last, ran := kept[n]; {
			case !ran:
				r.notRun++
			case last.State == passed:
				r.passed++
			case last.State == skipped:
				r.skipped++
			default:
				r.failed++
			}
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "sig\tpassed\tfailed\tskipped\tnot run")
	for _, s := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\n", s, rows[s].passed, rows[s].failed, rows[s].skipped, rows[s].notRun)
	}
	fmt.Fprintf(t, "all\t%d\t%d\t%d\t%d\n", total.passed, total.failed, total.skipped, total.notRun)
	_ = t.Flush() // the terminal's trouble is not ours
	for _, n := range names {
		if last, ran := kept[n]; ran && last.State != passed {
			first, _, _ := strings.Cut(strings.TrimSpace(last.Message), "\n")
			fmt.Fprintf(w, "\n%s %s\n  %s %s (%s)\n", last.State, n, last.Where, tail(first, 300), last.Log)
		}
	}
}
