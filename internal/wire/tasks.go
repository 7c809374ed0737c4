package wire

import (
	"context"

	"trireme/internal/object"
)

// The bounds of what waits of custom executors: messages that find no room are dropped, as
// Mesos does not promise any.
const (
	batchTasksMax = 100
	messagesMax   = 1000
)

// taskReports are what is said of the tasks of custom executors.
type taskReports struct {
	all      map[object.Key]*TaskUpdates
	dirty    map[object.Key]bool
	messages []*ExecutorMessage
}

func (t *taskReports) waits() bool { return len(t.dirty)+len(t.messages) > 0 }

func (t *taskReports) again() {
	for key := range t.all {
		t.dirty[key] = true
	}
}

// take takes what waits into the report; more: some was left.
func (t *taskReports) take(r *Report) (more bool) {
	for key := range t.dirty {
		if len(r.Tasks) == batchTasksMax {
			return true
		}
		r.Tasks = append(r.Tasks, t.all[key])
		delete(t.dirty, key)
	}
	r.Messages, t.messages = t.messages, nil
	return false
}

// ReportTask reports what a custom executor said of a task that its framework has not
// acknowledged; nil: there is nothing more to say of it. The newest wins; it is sent again
// after a reconnect.
func (c *Client) ReportTask(task object.Key, u *TaskUpdates) {
	c.mu.Lock()
	if u == nil {
		delete(c.tasks.all, task)
		delete(c.tasks.dirty, task)
	} else {
		c.tasks.all[task] = u
		c.tasks.dirty[task] = true
	}
	c.mu.Unlock()
	c.signal()
}

// Allow asks the manager of the open session whether somebody may do something;
// kind.Unavailable where no session is open.
func (c *Client) Allow(ctx context.Context, r *AllowRequest) (*AllowResponse, error) {
	conn := c.manager.Load()
	if conn == nil {
		return nil, errNoSession
	}
	return NewAgentsClient(conn).Allow(ctx, r)
}

// ReportMessage sends a message of an executor to its framework, best effort.
func (c *Client) ReportMessage(m *ExecutorMessage) {
	c.mu.Lock()
	if len(c.tasks.messages) < messagesMax {
		c.tasks.messages = append(c.tasks.messages, m)
	}
	c.mu.Unlock()
	c.signal()
}
