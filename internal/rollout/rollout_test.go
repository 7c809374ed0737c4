package rollout

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

// play is a rollout in a world where a pod asked for is there a second later
// and available one more second later, and a pod given up ends in a second.
type play struct {
	in     Input
	broken bool // new pods never become available
	fails  bool // new pods fail
}

const stepsMax = 80

func (w *play) run(t *testing.T) string {
	var b strings.Builder
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	w.in.Now, w.in.LastProgress = start, start
	last := ""
	for range stepsMax {
		p := Step(w.in)
		w.check(t, p)
		line := fmt.Sprintf("%-11s", p.Verdict)
		for i, g := range w.in.Groups {
			line += fmt.Sprintf("  %s %d→%d (available %d)", g.Name, g.Size, p.Sizes[i], g.Available)
		}
		if !p.Next.IsZero() {
			line += fmt.Sprintf("  again at %s", p.Next.Sub(start))
		}
		if line != last {
			fmt.Fprintf(&b, "%4s %s\n", w.in.Now.Sub(start), line)
		}
		last = line
		if p.Verdict == Complete || p.Verdict == Failed && w.in.OnFailure != Continue {
			return b.String()
		}
		w.advance(p)
	}
	return b.String()
}

// check holds every plan to what the package comment promises.
func (w *play) check(t *testing.T, p Plan) {
	t.Helper()
	asked, before, available := 0, 0, 0
	for i, g := range w.in.Groups {
		asked += p.Sizes[i]
		before += g.Size
		available += min(g.Available, p.Sizes[i])
		if g.New && w.in.Parallelism > 0 && p.Sizes[i] > g.Size && p.Sizes[i]-g.Available > w.in.Parallelism {
			t.Errorf("%d new pods on their way, parallelism %d", p.Sizes[i]-g.Available, w.in.Parallelism)
		}
	}
	if asked > w.in.Desired+w.in.Surge && asked > before {
		t.Errorf("%d pods asked for, at most %d allowed", asked, w.in.Desired+w.in.Surge)
	}
	had := 0
	for _, g := range w.in.Groups {
		had += min(g.Available, g.Size)
	}
	if least := w.in.Desired - w.in.Unavailable; w.in.Order != Recreate && available < least && available < had {
		t.Errorf("%d pods stay available, want %d", available, least)
	}
	again := w.in
	again.Groups = append([]Group(nil), w.in.Groups...)
	for i := range again.Groups {
		again.Groups[i].Size = p.Sizes[i]
	}
	if next := Step(again); w.in.Order != Recreate && !cmp.Equal(next.Sizes, p.Sizes) {
		t.Errorf("the plan's own outcome is planned anew: %v, then %v", p.Sizes, next.Sizes)
	}
}

func (w *play) advance(p Plan) {
	w.in.Now = w.in.Now.Add(time.Second)
	for i := range w.in.Groups {
		g := &w.in.Groups[i]
		can := min(g.Existing, p.Sizes[i])
		if g.New && w.broken || g.Name == "sick" {
			can = 0
		}
		if g.New && can > g.Available {
			w.in.LastAvailable, w.in.LastProgress = w.in.Now, w.in.Now
		}
		g.Ending = max(g.Existing-p.Sizes[i], 0)
		g.Available, g.Size, g.Existing = can, p.Sizes[i], p.Sizes[i]
		if g.New && w.fails {
			g.Failed += p.Sizes[i]
			g.Available = 0
		}
	}
}

func old(n int) Group { return Group{Name: "old", Size: n, Existing: n, Available: n} }

func fresh() Group { return Group{Name: "new", New: true} }

var plays = []struct {
	name string
	say  string
	play play
}{
	{"rolling", "Deployment, 10 replicas, maxSurge 3, maxUnavailable 2.",
		play{in: Input{Policy: Policy{Desired: 10, Surge: 3, Unavailable: 2}, Groups: []Group{old(10), fresh()}}}},
	{"rolling_first", "The first rollout: there is no old generation.",
		play{in: Input{Policy: Policy{Desired: 3, Surge: 1, Unavailable: 1}, Groups: []Group{fresh()}}}},
	{"rolling_surge", "maxSurge 1, maxUnavailable 0: never a pod less.",
		play{in: Input{Policy: Policy{Desired: 3, Surge: 1}, Groups: []Group{old(3), fresh()}}}},
	{"rolling_broken", "New pods never become available: old ones stay, the deadline passes.",
		play{broken: true, in: Input{Policy: Policy{Desired: 4, Surge: 1, Unavailable: 1, Deadline: 10 * time.Second}, Groups: []Group{old(4), fresh()}}}},
	{"rolling_sick", "Old pods that are not available go first and at once.",
		play{in: Input{Policy: Policy{Desired: 4, Surge: 1, Unavailable: 1}, Groups: []Group{
			{Name: "older", Size: 1, Existing: 1, Available: 1}, {Name: "sick", Size: 3, Existing: 3}, fresh()}}}},
	{"rollback", "Back to a generation that still has pods.",
		play{in: Input{Policy: Policy{Desired: 4, Surge: 1, Unavailable: 1}, Groups: []Group{old(3), {Name: "back", New: true, Size: 2, Existing: 2, Available: 2}}}}},
	{"recreate", "Every old pod has ended before the first new one.",
		play{in: Input{Policy: Policy{Desired: 3, Order: Recreate}, Groups: []Group{old(3), fresh()}}}},
	{"stop_first", "swarm: parallelism 2, delay 5s, stop-first.",
		play{in: Input{Policy: Policy{Desired: 5, Unavailable: 2, Parallelism: 2, Delay: 5 * time.Second, Order: StopFirst}, Groups: []Group{old(5), fresh()}}}},
	{"start_first", "swarm: parallelism 2, delay 5s, start-first.",
		play{in: Input{Policy: Policy{Desired: 5, Surge: 2, Parallelism: 2, Delay: 5 * time.Second, Order: StartFirst}, Groups: []Group{old(5), fresh()}}}},
	{"failing", "swarm: new pods fail, more than a fifth is not borne, failure action pause.",
		play{fails: true, in: Input{Policy: Policy{Desired: 5, Unavailable: 1, Parallelism: 1, Order: StopFirst, FailureMax: 0.2, OnFailure: Hold}, Groups: []Group{old(5), fresh()}}}},
	{"paused", "A paused rollout stays where it stands.",
		play{in: Input{Policy: Policy{Desired: 5, Surge: 1, Paused: true}, Groups: []Group{old(4), {Name: "new", New: true, Size: 2, Existing: 2, Available: 2}}}}},
	{"down", "Fewer replicas while nothing else changes.",
		play{in: Input{Policy: Policy{Desired: 1, Surge: 1}, Groups: []Group{{Name: "new", New: true, Size: 4, Existing: 4, Available: 4}}}}},
}

func TestPlays(t *testing.T) {
	for _, tt := range plays {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.say + "\n" + tt.play.run(t)
			path := filepath.Join("testdata", tt.name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestScale(t *testing.T) {
	g := func(sizes ...int) (gs []Group) {
		for i, n := range sizes {
			gs = append(gs, Group{Name: fmt.Sprint(i), Size: n, New: i == len(sizes)-1})
		}
		return gs
	}
	tests := []struct {
		name   string
		policy Policy
		sizes  []int
		was    []int
		want   []int
	}{
		// Kubernetes, "Deployment", "Proportional scaling": 8 old and 5 new of 10
		// with maxSurge 3, scaled to 15.
		{"the manual's example", Policy{Desired: 15, Surge: 3}, []int{8, 5}, []int{13, 13}, []int{11, 7}},
		{"one group takes all", Policy{Desired: 7, Surge: 2}, []int{0, 4}, []int{5, 5}, []int{0, 7}},
		{"none has pods", Policy{Desired: 7}, []int{0, 0}, []int{0, 0}, []int{0, 0}},
		{"down in proportion", Policy{Desired: 5, Surge: 0}, []int{5, 5}, []int{10, 10}, []int{2, 3}},
		{"to nothing", Policy{Desired: 0, Surge: 3}, []int{8, 5}, []int{13, 13}, []int{0, 0}},
		{"size at the last scaling unknown", Policy{Desired: 20, Surge: 0}, []int{6, 4}, []int{0, 0}, []int{12, 8}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, Scale(tt.policy, g(tt.sizes...), tt.was)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestRandomPlays plays rollouts with limits drawn from a seed: the promises hold
// at each step and, if new pods do become available, it ends.
func TestRandomPlays(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := Policy{Desired: r.IntN(8), Surge: r.IntN(4), Unavailable: r.IntN(4), Order: Order(r.IntN(4))}
		if p.Unavailable = min(p.Unavailable, p.Desired); p.Surge+p.Unavailable == 0 || p.Order == StopFirst {
			p.Unavailable = max(p.Unavailable, min(1, p.Desired))
		}
		if p.Order == StartFirst {
			p.Surge = max(p.Surge, 1)
		}
		if r.IntN(2) == 0 {
			p.Parallelism = 1 + r.IntN(3)
			p.Delay = time.Duration(r.IntN(3)) * time.Second
		}
		groups := []Group{old(r.IntN(6)), old(r.IntN(6)), fresh()}
		groups[0].Name = "older"
		w := play{in: Input{Policy: p, Groups: groups}}
		text := w.run(t)
		if !strings.Contains(text, "complete") || t.Failed() {
			t.Fatalf("seed %d, %+v: does not end, or breaks a promise:\n%s", seed, p, text)
		}
	}
}
