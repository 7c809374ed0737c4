package storm

import (
	"fmt"
	"sync"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
)

// Ledger says what became of a framework's updates: each is to come until it is
// acknowledged, and then no more; those of a task come in the order of its states.
type Ledger struct {
	mu    sync.Mutex
	acked map[[16]byte]bool              // by uuid
	tasks map[string][]mesosv1.TaskState // whose updates were acknowledged, in order
	ended map[mesosv1.TaskState]int      // how many tasks are in a state
	Again int                            // came again before they were acknowledged
	came  map[[16]byte]bool              // and are not acknowledged
	Twice int                            // came again though they were
	Wrong []string                       // out of order
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{acked: map[[16]byte]bool{}, came: map[[16]byte]bool{}, tasks: map[string][]mesosv1.TaskState{}, ended: map[mesosv1.TaskState]int{}}
}

// Acknowledge notes an update that came, and acknowledges it.
func (l *Ledger) Acknowledge(f *Framework, s *mesosv1.TaskStatus) error {
	if len(s.GetUuid()) == 0 {
		return nil // nobody waits for an acknowledgement
	}
	id := [16]byte(s.GetUuid())
	l.mu.Lock()
	if l.acked[id] {
		l.Twice++
	}
	if l.came[id] {
		l.Again++
	}
	l.came[id] = true
	l.mu.Unlock()
	return f.Go(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), Acknowledge: &scheduler.Call_Acknowledge{
		AgentId: s.AgentId, TaskId: s.TaskId, Uuid: s.Uuid,
	}}, func() { l.took(id, s) })
}

// took notes that an acknowledgement was taken.
func (l *Ledger) took(id [16]byte, s *mesosv1.TaskStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acked[id] {
		return
	}
	l.acked[id] = true
	delete(l.came, id)
	task := s.GetTaskId().GetValue()
	had := l.tasks[task]
	if n := len(had); n > 0 {
		l.ended[had[n-1]]--
		if had[n-1] >= s.GetState() {
			l.Wrong = append(l.Wrong, fmt.Sprintf("%s: %v after %v", task, s.GetState(), had[n-1]))
		}
	}
	l.tasks[task] = append(had, s.GetState())
	l.ended[s.GetState()]++
}

// Came returns how many updates came, acknowledged or not.
func (l *Ledger) Came() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked) + len(l.came)
}

// Acked returns how many updates were acknowledged.
func (l *Ledger) Acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// In returns of how many tasks a state was the last that was acknowledged.
func (l *Ledger) In(s mesosv1.TaskState) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended[s]
}

// Lost returns how many updates did not come of so many tasks that were to have each so many.
func (l *Ledger) Lost(tasks, each int) int { return tasks*each - l.Acked() }
