package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"trireme/examples/mesos/framework"
	"trireme/examples/mesos/mapreduce/delay"
)

// run is one run of the framework.
type run struct {
	fw        *framework.Framework
	policy    delay.Policy
	cpus, mem float64
	files     []string // of the map tasks, by number
	url       string   // where results go
	copyBy    string
	load      *load // what is measured; nil: words are counted

	tasks map[string]delay.Task // that were given a node
	left  int                   // tasks that have not ended

	mu     sync.Mutex
	counts map[string]int
	have   map[string]bool // results that came
}

// load is a workload to measure with.
type load struct {
	jobs, tasks, copies, nodes int
	mean                       time.Duration
	seed                       uint64

	hosts []string // that were offered so far
	times map[string]time.Duration
}

// errDone ends the stream of events.
var errDone = errors.New("all tasks have ended")

// refuse is for how many seconds what no task wants is not offered again.
const refuse = 0.5

// work runs every task to its end.
func (r *run) work(ctx context.Context) error {
	r.have, r.left = map[string]bool{}, r.policy.Pending()
	err := r.fw.Subscribe(ctx, func(e *framework.Event) error {
		switch e.Type {
		case "OFFERS":
			for i := range e.Offers.Offers {
				if err := r.offer(ctx, &e.Offers.Offers[i]); err != nil {
					return err
				}
			}
		case "UPDATE":
			return r.update(&e.Update.Status)
		}
		return nil
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// offer fills an offer with tasks.
func (r *run) offer(ctx context.Context, o *framework.Offer) error {
	if r.load != nil && !r.load.ready(o.Hostname, r) {
		return r.fw.Launch(ctx, o.ID, nil, refuse)
	}
	var tasks []framework.Task
	for range o.Fits(r.cpus, r.mem) {
		t, ok := r.policy.Pick(o.Hostname, time.Now())
		if !ok {
			break
		}
		r.tasks[t.ID] = t
		tasks = append(tasks, framework.Task{
			Name: t.ID, TaskID: framework.Value{Value: t.ID}, AgentID: o.AgentID, Command: r.command(t, o.Hostname),
			Resources: []framework.Resource{framework.Scalar("cpus", r.cpus), framework.Scalar("mem", r.mem)},
		})
	}
	return r.fw.Launch(ctx, o.ID, tasks, refuse)
}

// command returns what a task runs on the host.
func (r *run) command(t delay.Task, host string) framework.Command {
	if r.load != nil {
		c := framework.Command{Value: fmt.Sprintf("sleep %.3f", r.load.times[t.ID].Seconds())}
		c.Environment.Variables = []framework.Variable{{Name: "SIM_RUN_FOR", Value: r.load.times[t.ID].String()}}
		return c
	}
	n := 0
	_, _ = fmt.Sscanf(t.ID, "map-%d", &n) // ids are made from numbers
	read := "cat " + quote(r.files[n])
	if !slices.Contains(t.Hosts, host) && r.copyBy != "" {
		read = strings.NewReplacer("{file}", quote(r.files[n]), "{host}", t.Hosts[0]).Replace(r.copyBy)
	}
	return framework.Command{Value: fmt.Sprintf(
		"set -eu; %s | tr -cs '[:alnum:]' '\\n' | tr '[:upper:]' '[:lower:]' | sort | uniq -c | curl -sS --fail --data-binary @- %s/%s", read, r.url, t.ID)}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// update takes in how a task stands. One that never ran is tried again; one that failed
// ends the run.
func (r *run) update(s *framework.Status) error {
	t, ok := r.tasks[s.TaskID.Value]
	if !ok || !s.Ended() {
		return nil
	}
	delete(r.tasks, t.ID)
	switch s.State {
	case "TASK_FINISHED":
		r.policy.Ended(t.ID)
		if r.left--; r.left == 0 {
			return errDone
		}
	case "TASK_LOST", "TASK_DROPPED", "TASK_GONE":
		log.Printf("%s comes again: %s: %s", t.ID, s.State, s.Message)
		r.policy.Again(t)
	default:
		return fmt.Errorf("%s: %s: %s", t.ID, s.State, s.Message)
	}
	return nil
}

// ready reports whether the load has been made: blocks lie on nodes that were offered,
// once there are enough of them.
func (l *load) ready(host string, r *run) bool {
	if l.times != nil {
		return true
	}
	if !slices.Contains(l.hosts, host) {
		l.hosts = append(l.hosts, host)
	}
	if len(l.hosts) < l.nodes {
		return false
	}
	slices.Sort(l.hosts)
	l.times = map[string]time.Duration{}
	rnd := rand.New(rand.NewPCG(l.seed, l.seed))
	for i := range l.jobs {
		j := &delay.Job{Name: fmt.Sprintf("job-%d", i)}
		for k := range l.tasks {
			t := delay.Task{ID: fmt.Sprintf("job-%d-task-%d", i, k)}
			for range l.copies {
				t.Hosts = append(t.Hosts, l.hosts[rnd.IntN(len(l.hosts))])
			}
			l.times[t.ID] = time.Duration((0.5 + rnd.Float64()) * float64(l.mean)).Round(time.Millisecond)
			j.Pending = append(j.Pending, t)
		}
		r.policy.Add(j)
	}
	r.left = r.policy.Pending()
	return true
}

// top returns the n most frequent words.
func top(counts map[string]int, n int) []string {
	words := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	return words[:min(n, len(words))]
}
