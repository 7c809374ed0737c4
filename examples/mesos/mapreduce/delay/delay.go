// Package delay is delay scheduling: who is to run next on a node that has room, where
// tasks would rather run where their data are (Zaharia et al., "Delay Scheduling",
// EuroSys 2010, its algorithm with a wait in time).
//
// Jobs are served fairly, the one with the fewest running tasks first. One whose turn it
// is, but which has no data on the node, lets others go before it for a bounded time;
// after that it takes any node until it has had a local one again.
package delay

import (
	"cmp"
	"slices"
	"time"
)

// Task is work on a block of data.
type Task struct {
	ID    string
	Hosts []string // that have the block
}

// Job is tasks of one user, in a fair share with other jobs.
type Job struct {
	Name    string
	Pending []Task

	running int
	skipped bool          // the last time others went before it
	waited  time.Duration // while others went before it
}

// Policy chooses tasks. Its zero value waits for nothing. It is not safe for concurrent
// use.
type Policy struct {
	Wait time.Duration // how long a job lets others go before it

	// Local and Others count the tasks that were given a node with, and without, their
	// data.
	Local, Others int

	jobs []*Job
	of   map[string]*Job // by task
	last time.Time       // that a node had room
}

// Add adds a job.
func (p *Policy) Add(j *Job) { p.jobs = append(p.jobs, j) }

// Pending returns how many tasks have not been given a node.
func (p *Policy) Pending() (n int) {
	for _, j := range p.jobs {
		n += len(j.Pending)
	}
	return n
}

// Pick takes out the task that is to run on the host now; false: none is.
func (p *Policy) Pick(host string, now time.Time) (Task, bool) {
	for _, j := range p.jobs {
		if j.skipped {
			j.skipped, j.waited = false, j.waited+now.Sub(p.last)
		}
	}
	p.last = now
	slices.SortStableFunc(p.jobs, func(a, b *Job) int { return cmp.Compare(a.running, b.running) })
	for _, j := range p.jobs {
		if len(j.Pending) == 0 {
			continue
		}
		at := slices.IndexFunc(j.Pending, func(t Task) bool { return slices.Contains(t.Hosts, host) })
		switch {
		case at >= 0:
			j.waited = 0
			p.Local++
		case j.waited < p.Wait:
			j.skipped = true
			continue
		default:
			at = 0
			p.Others++
		}
		return p.give(j, at), true
	}
	return Task{}, false
}

func (p *Policy) give(j *Job, at int) Task {
	t := j.Pending[at]
	j.Pending = slices.Delete(j.Pending, at, at+1)
	j.running++
	if p.of == nil {
		p.of = map[string]*Job{}
	}
	p.of[t.ID] = j
	return t
}

// Ended notes that a task runs no more.
func (p *Policy) Ended(id string) {
	j := p.of[id]
	if j == nil {
		return
	}
	delete(p.of, id)
	if j.running--; j.running == 0 && len(j.Pending) == 0 {
		p.jobs = slices.DeleteFunc(p.jobs, func(other *Job) bool { return other == j })
	}
}

// Again puts back a task that was given a node and did not come to run.
func (p *Policy) Again(t Task) {
	if j := p.of[t.ID]; j != nil {
		j.Pending = append(j.Pending, t)
		j.running--
		delete(p.of, t.ID)
	}
}
