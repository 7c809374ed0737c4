package delay

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestPick: a job waits its time for its data, then takes any node until it has had a
// local one.
func TestPick(t *testing.T) {
	start := time.Unix(1000, 0)
	p := Policy{Wait: 5 * time.Second}
	p.Add(&Job{Name: "a", Pending: []Task{{"a1", []string{"n1"}}, {"a2", []string{"n2"}}, {"a3", []string{"n3"}}}})
	p.Add(&Job{Name: "b", Pending: []Task{{"b1", []string{"n9"}}}})
	for i, step := range []struct {
		host  string
		after time.Duration
		want  string
	}{
		{"n9", 0, "b1"}, // a's turn, b's data
		{"n8", time.Second, ""},
		{"n8", 4 * time.Second, ""},
		{"n8", 5 * time.Second, "a1"},
		{"n8", 5 * time.Second, "a2"}, // it waits no more
		{"n3", 5 * time.Second, "a3"},
		{"n3", 5 * time.Second, ""},
	} {
		got, _ := p.Pick(step.host, start.Add(step.after))
		if got.ID != step.want {
			t.Errorf("step %d: %s after %s runs %q, not %q", i, step.host, step.after, got.ID, step.want)
		}
	}
	if p.Local != 2 || p.Others != 2 {
		t.Errorf("%d local, %d others", p.Local, p.Others)
	}
}

// TestLocality: on the paper's kind of workload (small jobs, three copies of each block,
// a full cluster) a wait of a tenth of the mean task makes nearly all tasks local, and
// costs next to nothing.
func TestLocality(t *testing.T) {
	const mean = 20 * time.Second
	without, idle := simulate(0, mean)
	with, longer := simulate(mean/10, mean)
	t.Logf("locality %.1f %% without a wait (%s), %.1f %% with one of %s (%s)", without, idle, with, mean/10, longer)
	if without > 40 || with < 95 {
		t.Errorf("locality %.1f %% without a wait, %.1f %% with one", without, with)
	}
	if longer > idle*11/10 {
		t.Errorf("all took %s with a wait, %s without", longer, idle)
	}
}

// simulate runs 200 jobs of 20 tasks on 100 nodes of 8 slots, 120 at a time, and returns
// the share of local tasks in per cent and when the last ended.
func simulate(wait, mean time.Duration) (float64, time.Duration) {
	const nodes, slots, jobs, tasks, copies, atOnce = 100, 8, 200, 20, 3, 120
	rnd := rand.New(rand.NewPCG(7, 7))
	p := Policy{Wait: wait}
	made, now := 0, time.Unix(0, 0)
	add := func() {
		j := &Job{Name: fmt.Sprint(made)}
		for i := range tasks {
			t := Task{ID: fmt.Sprint(made, ".", i)}
			for range copies {
				t.Hosts = append(t.Hosts, fmt.Sprint(rnd.IntN(nodes)))
			}
			j.Pending = append(j.Pending, t)
		}
		made++
		p.Add(j)
	}
	for range atOnce {
		add()
	}
	type end struct {
		at   time.Time
		id   string
		node int
	}
	var running []end
	free := make([]int, nodes)
	for i := range free {
		free[i] = slots
	}
	for {
		for _, n := range rnd.Perm(nodes) {
			for free[n] > 0 {
				task, ok := p.Pick(fmt.Sprint(n), now)
				if !ok {
					break
				}
				free[n]--
				running = append(running, end{now.Add(time.Duration((0.5 + rnd.Float64()) * float64(mean))), task.ID, n})
			}
		}
		if len(running) == 0 && p.Pending() == 0 {
			return 100 * float64(p.Local) / float64(p.Local+p.Others), now.Sub(time.Unix(0, 0))
		}
		now = now.Add(50 * time.Millisecond)
		running = slices.DeleteFunc(running, func(e end) bool {
			if e.at.After(now) {
				return false
			}
			free[e.node]++
			p.Ended(e.id)
			return true
		})
		for made < jobs && len(p.jobs) < atOnce {
			add()
		}
	}
}
