package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func judged(t *testing.T, reports string) result {
	t.Helper()
	var specs []specReport
	if err := json.Unmarshal([]byte(reports), &specs); err != nil {
		t.Fatal(err)
	}
	var r result
	r.judge(specs)
	return r
}

// TestJudge: what the suite's report says of one spec among those left out.
func TestJudge(t *testing.T) {
	const others = `{"LeafNodeType":"It","State":"skipped"}, {"LeafNodeType":"SynchronizedBeforeSuite","State":"passed"}`
	for _, c := range []struct{ name, reports, state, message, where string }{
		{"passed", others + `,{"LeafNodeType":"It","State":"passed"}`, passed, "", ""},
		{"skipped by itself", others + `,{"LeafNodeType":"It","State":"skipped","Failure":{"Message":"needs two nodes"}}`, skipped, "needs two nodes", ""},
		{"failed", `{"LeafNodeType":"It","State":"failed","Failure":{"Message":"no","Location":{"FileName":"k8s.io/kubernetes/test/e2e/apps/rc.go","LineNumber":7}}},` + others, failed, "no", "apps/rc.go:7"},
		{"panicked", `{"LeafNodeType":"It","State":"panicked","Failure":{"Message":"oops"}}`, failed, "oops", ""},
		{"over its limit", `{"LeafNodeType":"It","State":"timedout","Failure":{"Message":"late"}}`, timedOut, "late", ""},
		{"never run", others, failed, "the suite did not run it", ""},
		{"broken suite", `{"LeafNodeType":"It","State":"passed"},{"LeafNodeType":"SynchronizedBeforeSuite","State":"failed","Failure":{"Message":"no nodes"}}`, failed, "SynchronizedBeforeSuite: no nodes", ""},
	} {
		r := judged(t, "["+c.reports+"]")
		if r.State != c.state || r.Message != c.message || r.Where != c.where {
			t.Errorf("%s: got %q, %q, %q", c.name, r.State, r.Message, r.Where)
		}
	}
}

// TestKeptResults: they are found again, chosen from and summed up.
func TestKeptResults(t *testing.T) {
	dir := t.TempDir()
	kept, err := load(dir)
	if err != nil || len(kept) != 0 {
		t.Fatal(kept, err)
	}
	names := []string{"[sig-apps] a", "[sig-apps] b", "[sig-cli] c", "[sig-cli] d"}
	kept[names[0]] = result{State: passed}
	kept[names[1]] = result{State: failed, Message: "why\nmore", Where: "apps/b.go:1"}
	kept[names[2]] = result{State: skipped, Message: "not here"}
	if err := kept.save(dir); err != nil {
		t.Fatal(err)
	}
	if kept, err = load(dir); err != nil {
		t.Fatal(err)
	}
	for only, want := range map[string][]string{"all": names, "failed": names[1:2], "missing": names[3:], "todo": names[1:]} {
		if got, err := choose(names, kept, only); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", only, got, err)
		}
	}
	if _, err := choose(names, kept, "some"); err == nil {
		t.Error("an unknown choice was taken")
	}
	var out bytes.Buffer
	summarise(&out, names, kept)
	for _, want := range []string{"sig-apps  1       1       0        0", "all       1       1       1        1", "failed [sig-apps] b\n  apps/b.go:1 why ("} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
}
