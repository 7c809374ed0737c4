// Package framework is a small client of Mesos' scheduler API, version 1, in JSON: what
// the examples of frameworks share. It knows what they need and no more; all of it is in
// Mesos' "Scheduler HTTP API", so that it runs against any master.
package framework

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Value is Mesos' wrapper of an id.
type Value struct {
	Value string `json:"value"`
}

// Resource is some of what an agent has: a scalar, as cpus.
type Resource struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Scalar struct {
		Value float64 `json:"value"`
	} `json:"scalar"`
	// Revocable: others have asked for it and do not use it; offered to REVOCABLE_RESOURCES.
	Revocable *struct{} `json:"revocable,omitempty"`
}

// Scalar returns a scalar resource.
func Scalar(name string, value float64) Resource {
	r := Resource{Name: name, Type: "SCALAR"}
	r.Scalar.Value = value
	return r
}

// Offer is a part of an agent that the framework may use.
type Offer struct {
	ID        Value      `json:"id"`
	AgentID   Value      `json:"agent_id"`
	Hostname  string     `json:"hostname"`
	Resources []Resource `json:"resources"`
	URL       struct {
		Address struct {
			IP string `json:"ip"`
		} `json:"address"`
	} `json:"url"`
}

// Has returns how much of a scalar the offer has.
func (o *Offer) Has(name string) (sum float64) {
	for _, r := range o.Resources {
		if r.Name == name {
			sum += r.Scalar.Value
		}
	}
	return sum
}

// Fits returns how many tasks of so many cpus and MB of memory fit in the offer.
func (o *Offer) Fits(cpus, mem float64) int {
	return int(min((o.Has("cpus")+1e-6)/cpus, (o.Has("mem")+1e-6)/mem))
}

// Task is a command that is to run on an agent.
type Task struct {
	Name      string     `json:"name"`
	TaskID    Value      `json:"task_id"`
	AgentID   Value      `json:"agent_id"`
	Resources []Resource `json:"resources"`
	Command   Command    `json:"command"`
	Container *Container `json:"container,omitempty"`
}

// Command is what a task runs, by a shell.
type Command struct {
	Value       string `json:"value"`
	Environment struct {
		Variables []Variable `json:"variables,omitempty"`
	} `json:"environment"`
}

// Variable is one of a command's environment.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Container says in which image a task runs; without one it runs on the agent's own
// files.
type Container struct {
	Type   string `json:"type"`
	Docker struct {
		Image string `json:"image"`
	} `json:"docker"`
}

// Status is how a task stands.
type Status struct {
	TaskID  Value  `json:"task_id"`
	AgentID Value  `json:"agent_id"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	UUID    string `json:"uuid"`
}

// Ended reports whether the task will not run any more.
func (s *Status) Ended() bool {
	switch s.State {
	case "TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_UNREACHABLE":
		return false
	}
	return true
}

// Event is what the master says. The fields that its type does not have are empty.
type Event struct {
	Type       string `json:"type"`
	Subscribed struct {
		FrameworkID Value `json:"framework_id"`
	} `json:"subscribed"`
	Offers struct {
		Offers []Offer `json:"offers"`
	} `json:"offers"`
	Rescind struct {
		OfferID Value `json:"offer_id"`
	} `json:"rescind"`
	Update struct {
		Status Status `json:"status"`
	} `json:"update"`
	Error struct {
		Message string `json:"message"`
	} `json:"error"`

	Record json.RawMessage `json:"-"` // all of it, as it came
}

// Framework is a framework that is subscribed. Of its fields only Once may be changed then, by its handler.
type Framework struct {
	Client         *http.Client // nil: http.DefaultClient
	Master         string       // its URL: http://HOST:5050
	User, Password string       // of HTTP basic authentication; empty: none
	// Name, Role and RunAs are what the framework is called, whose share it has, and as
	// whom its commands run.
	Name, Role, RunAs string
	// FailoverTimeout is for how many seconds tasks live on without the framework.
	FailoverTimeout float64
	// Capabilities are those that it has beside MULTI_ROLE; nil: PARTITION_AWARE.
	Capabilities []string
	// Once: where the stream ends, so does the framework, with all its tasks.
	Once bool
	// AcksAtOnce is how many acknowledgements may be on their way; 0: one, which is waited
	// for before the next event.
	AcksAtOnce int

	mu     sync.Mutex
	id     string
	stream string
}

// ID returns what the master calls the framework; empty: it has not been subscribed.
func (f *Framework) ID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id
}

// Subscribe hands every event to handle, until ctx ends, the stream ends, or handle
// returns an error. Updates are acknowledged once handle has returned. A framework that was
// subscribed before goes on as the same one.
func (f *Framework) Subscribe(ctx context.Context, handle func(*Event) error) error {
	info := map[string]any{
		"name": f.Name, "user": f.RunAs, "roles": []string{f.Role}, "failover_timeout": f.FailoverTimeout, "checkpoint": true,
	}
	known := []map[string]string{{"type": "MULTI_ROLE"}}
	if f.Capabilities == nil {
		known = append(known, map[string]string{"type": "PARTITION_AWARE"})
	}
	for _, one := range f.Capabilities {
		known = append(known, map[string]string{"type": one})
	}
	info["capabilities"] = known
	if f.User != "" {
		info["principal"] = f.User
	}
	call := map[string]any{"type": "SUBSCRIBE", "subscribe": map[string]any{"framework_info": info}}
	f.mu.Lock()
	if f.stream = ""; f.id != "" {
		info["id"], call["framework_id"] = Value{f.id}, Value{f.id}
	}
	f.mu.Unlock()
	// The stream outlives ctx for as long as it takes to say so.
	open, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	resp, err := f.post(open, call)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	defer context.AfterFunc(ctx, func() {
		_ = f.leave(open) // who ends it has a reason of his own
		cancel()
	})()
	f.mu.Lock()
	f.stream = resp.Header.Get("Mesos-Stream-Id")
	f.mu.Unlock()
	records := bufio.NewReader(resp.Body)
	acks := newAcks(f)
	for {
		e, err := next(records)
		if err != nil {
			return fmt.Errorf("reading the master's events: %w", err)
		}
		switch e.Type {
		case "SUBSCRIBED":
			f.mu.Lock()
			f.id = e.Subscribed.FrameworkID.Value
			f.mu.Unlock()
		case "ERROR":
			return errors.New("the master refuses: " + e.Error.Message)
		}
		if err := handle(e); err != nil {
			return errors.Join(err, f.leave(open))
		}
		if s := e.Update.Status; s.UUID != "" {
			if err := acks.send(ctx, &s); err != nil {
				return err
			}
		}
	}
}

// leave ends the framework where it is there once.
func (f *Framework) leave(ctx context.Context) error {
	if !f.Once {
		return nil
	}
	return f.Call(ctx, "TEARDOWN", nil)
}

// acks are acknowledgements on their way.
type acks struct {
	f     *Framework
	turns chan struct{} // nil: each is waited for
	ended chan error    // of the first that failed
}

func newAcks(f *Framework) *acks {
	a := &acks{f: f, ended: make(chan error, 1)}
	if f.AcksAtOnce > 0 {
		a.turns = make(chan struct{}, f.AcksAtOnce)
	}
	return a
}

// send acknowledges an update, or says why one before could not be.
func (a *acks) send(ctx context.Context, s *Status) error {
	ack := map[string]any{"agent_id": s.AgentID, "task_id": s.TaskID, "uuid": s.UUID}
	if a.turns == nil {
		return a.f.Call(ctx, "ACKNOWLEDGE", ack)
	}
	select {
	case err := <-a.ended:
		return err
	case a.turns <- struct{}{}:
	}
	go func() {
		if err := a.f.Call(ctx, "ACKNOWLEDGE", ack); err != nil {
			select {
			case a.ended <- err:
			default: // another failed before
			}
		}
		<-a.turns
	}()
	return nil
}

// recordMax bounds one event.
const recordMax = 64 << 20

// next reads one record: its length in decimal digits, a line feed, and so many bytes.
func next(r *bufio.Reader) (*Event, error) {
	head, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseUint(strings.TrimSuffix(head, "\n"), 10, 64)
	if err != nil || size > recordMax {
		return nil, fmt.Errorf("a record of %q bytes", head)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	e := &Event{Record: body}
	return e, json.Unmarshal(body, e)
}

// Launch uses some of an offer for tasks, and gives back the rest, which is not offered
// again for refuse seconds. Without tasks it declines the offer.
func (f *Framework) Launch(ctx context.Context, offer Value, tasks []Task, refuse float64) error {
	accept := map[string]any{"offer_ids": []Value{offer}, "filters": map[string]float64{"refuse_seconds": refuse}}
	if len(tasks) == 0 {
		return f.Call(ctx, "DECLINE", accept)
	}
	accept["operations"] = []map[string]any{{"type": "LAUNCH", "launch": map[string]any{"task_infos": tasks}}}
	return f.Call(ctx, "ACCEPT", accept)
}

// Kill ends a task.
func (f *Framework) Kill(ctx context.Context, task Value) error {
	return f.Call(ctx, "KILL", map[string]any{"task_id": task})
}

// Call makes a call of the type, whose body is the field of that name.
func (f *Framework) Call(ctx context.Context, kind string, body any) error {
	f.mu.Lock()
	call := map[string]any{"type": kind, "framework_id": Value{f.id}}
	f.mu.Unlock()
	if body != nil {
		call[strings.ToLower(kind)] = body
	}
	resp, err := f.post(ctx, call)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (f *Framework) post(ctx context.Context, call map[string]any) (*http.Response, error) {
	body, err := json.Marshal(call)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(f.Master, "/")+"/api/v1/scheduler", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	f.mu.Lock()
	if f.stream != "" {
		req.Header.Set("Mesos-Stream-Id", f.stream)
	}
	f.mu.Unlock()
	if f.User != "" {
		req.SetBasicAuth(f.User, f.Password)
	}
	client := f.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, errors.Join(fmt.Errorf("%s: the master answers %s: %s", call["type"], resp.Status, bytes.TrimSpace(said)), resp.Body.Close())
	}
	return resp, nil
}
