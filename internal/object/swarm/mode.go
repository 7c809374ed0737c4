package swarm

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"trireme/internal/object"
)

// ScheduleLabel is the label of a job, as its user writes it, that says when it runs
// again: a cron schedule (object.ParseSchedule), before it a time zone if one is wanted,
// as in "TZ=Europe/Vienna 30 2 * * *".
const ScheduleLabel = "trireme.dev/schedule"

// Mode is how a service's tasks are counted, in the words of docker's clients.
type Mode string

// The modes.
const (
	Replicated    Mode = "replicated"
	Global        Mode = "global"
	ReplicatedJob Mode = "replicated-job"
	GlobalJob     Mode = "global-job"
)

// Mode returns the service's mode.
func (s *Service) Mode() Mode {
	switch m := s.Spec.Mode; {
	case m.Global != nil:
		return Global
	case m.ReplicatedJob != nil:
		return ReplicatedJob
	case m.GlobalJob != nil:
		return GlobalJob
	}
	return Replicated
}

// Job reports whether the service's tasks run until they are done.
func (s *Service) Job() bool { return s.Mode() == ReplicatedJob || s.Mode() == GlobalJob }

// PerNode reports whether the service has a task on every node.
func (s *Service) PerNode() bool { return s.Mode() == Global || s.Mode() == GlobalJob }

// Replicas returns how many tasks a service wants, of a job how many are to be done;
// false: one on every node.
func (s *Service) Replicas() (n int, replicated bool) {
	switch m := s.Spec.Mode; {
	case s.PerNode():
		return 0, false
	case m.ReplicatedJob != nil:
		_, total := s.Completions()
		return total, true
	case m.Replicated != nil && m.Replicated.Replicas != nil:
		return tasks(*m.Replicated.Replicas), true
	}
	return 1, true
}

// Completions returns how many tasks of a replicated job run at once, and how many are
// to be done (Docker Engine API, ServiceSpec).
func (s *Service) Completions() (concurrent, total int) {
	j := s.Spec.Mode.ReplicatedJob
	if j == nil {
		return 0, 0
	}
	concurrent = 1
	if j.MaxConcurrent != nil {
		concurrent = tasks(*j.MaxConcurrent)
	}
	if j.TotalCompletions == nil {
		return concurrent, concurrent
	}
	return concurrent, tasks(*j.TotalCompletions)
}

// tasksMax is how many tasks a service has at most: beyond, a number is a slip of the pen.
const tasksMax = 1_000_000

func tasks(n uint64) int { return int(min(n, tasksMax)) }

// checkCounts returns what is wrong with how many tasks are asked for.
func (s *Service) checkCounts() error {
	counts := map[string]*uint64{}
	if m := s.Spec.Mode.Replicated; m != nil {
		counts["Replicated.Replicas"] = m.Replicas
	}
	if m := s.Spec.Mode.ReplicatedJob; m != nil {
		counts["ReplicatedJob.MaxConcurrent"], counts["ReplicatedJob.TotalCompletions"] = m.MaxConcurrent, m.TotalCompletions
	}
	for _, field := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[field]; n != nil && *n > tasksMax {
			return fmt.Errorf("Mode.%s: %d: a service has at most %d tasks", field, *n, tasksMax)
		}
	}
	return nil
}

// Iteration returns the number of a job's present run: every change of what its user
// wrote begins another, and so does its schedule.
func (s *Service) Iteration() int64 {
	n := max(s.ObjectMeta.Generation-1, 0)
	if s.Status.Job != nil {
		n += s.Status.Job.Reruns
	}
	return n
}

// Current returns the label that a task has which was made from what the service is now,
// and its value.
func (s *Service) Current() (label, value string) {
	if s.Job() {
		return IterationLabel, strconv.FormatInt(s.Iteration(), 10)
	}
	return GenerationLabel, s.Generation()
}

// Schedule returns when the job runs again by itself; nil: it does not.
func (s *Service) Schedule() (object.Schedule, error) {
	text, ok := s.Spec.Labels[ScheduleLabel]
	if !ok || !s.Job() {
		return nil, nil
	}
	plan, err := object.ParseSchedule(text)
	if err != nil {
		return nil, fmt.Errorf("Labels[%q]: %q: %w; write five fields as \"*/5 * * * *\", with a time zone as \"TZ=Europe/Vienna 30 2 * * *\"", ScheduleLabel, text, err)
	}
	return plan, nil
}

// checkMode returns what is wrong with the mode, and with what does not go with it.
func (s *Service) checkMode() error {
	m, given := s.Spec.Mode, 0
	for _, there := range []bool{m.Replicated != nil, m.Global != nil, m.ReplicatedJob != nil, m.GlobalJob != nil} {
		if there {
			given++
		}
	}
	if given > 1 {
		return fmt.Errorf("Mode: it is one of Replicated, Global, ReplicatedJob and GlobalJob")
	}
	if err := s.checkCounts(); err != nil {
		return err
	}
	if _, ok := s.Spec.Labels[ScheduleLabel]; ok && !s.Job() {
		return fmt.Errorf("Labels[%q]: only jobs run again: give Mode.ReplicatedJob or Mode.GlobalJob, or leave the label away", ScheduleLabel)
	}
	if _, err := s.Schedule(); err != nil {
		return err
	}
	if !s.Job() {
		return nil
	}
	const remedy = "a job is not updated task by task, it runs again: leave it away"
	switch {
	case s.Spec.UpdateConfig != nil:
		return fmt.Errorf("UpdateConfig: %s", remedy)
	case s.Spec.RollbackConfig != nil:
		return fmt.Errorf("RollbackConfig: %s", remedy)
	}
	return nil
}
