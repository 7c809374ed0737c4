package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	"trireme/test/cluster"
)

// engine asks a manager's Docker API as programs do: by HTTP over the socket.
type engine struct {
	t   *testing.T
	h   *cluster.Host
	web *http.Client
}

func newEngine(t *testing.T, h *cluster.Host) *engine {
	socket := filepath.Join(h.Root, "docker.sock")
	return &engine{t: t, h: h, web: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// of returns the engine for a subtest, with the same connections.
func (e *engine) of(t *testing.T) *engine { return &engine{t: t, h: e.h, web: e.web} }

// ask sends a request and returns what is answered.
func (e *engine) ask(method, path string, body any) (int, string) {
	e.t.Helper()
	text, ok := body.(string)
	if !ok && body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			e.t.Fatal(err)
		}
		text = string(b)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://docker/v1.44"+path, strings.NewReader(text))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.web.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp.StatusCode, string(bytes.TrimSpace(b))
}

// get reads what is at the path.
func get[T any](e *engine, path string) (v T) {
	e.t.Helper()
	code, text := e.ask(http.MethodGet, path, nil)
	if code != http.StatusOK {
		e.t.Fatalf("GET %s: %d: %s", path, code, text)
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		e.t.Fatalf("GET %s: %v: %s", path, err, text)
	}
	return v
}

// create makes a service and removes it after the test.
func (e *engine) create(spec swarm.ServiceSpec) string {
	e.t.Helper()
	code, text := e.ask(http.MethodPost, "/services/create", spec)
	var made swarm.ServiceCreateResponse
	if err := json.Unmarshal([]byte(text), &made); err != nil || code != http.StatusCreated {
		e.t.Fatalf("creating %s: %d: %s", spec.Name, code, text)
	}
	e.t.Cleanup(func() { e.ask(http.MethodDelete, "/services/"+made.ID, nil) })
	return made.ID
}

func (e *engine) service(id string) swarm.Service {
	e.t.Helper()
	return get[swarm.Service](e, "/services/"+id)
}

// change updates a service as docker's clients do: all of its spec, from the version read.
func (e *engine) change(id string, f func(*swarm.ServiceSpec)) {
	e.t.Helper()
	e.await("the service is changed", func() error {
		s := e.service(id)
		f(&s.Spec)
		code, text := e.ask(http.MethodPost, fmt.Sprintf("/services/%s/update?version=%d", id, s.Version.Index), s.Spec)
		if code != http.StatusOK {
			return fmt.Errorf("%d: %s", code, text)
		}
		return nil
	})
}

// rollback goes back to the spec before.
func (e *engine) rollback(id string) {
	e.t.Helper()
	e.await("the service is rolled back", func() error {
		s := e.service(id)
		code, text := e.ask(http.MethodPost, fmt.Sprintf("/services/%s/update?version=%d&rollback=previous", id, s.Version.Index), s.Spec)
		if code != http.StatusOK {
			return fmt.Errorf("%d: %s", code, text)
		}
		return nil
	})
}

// tasks returns a service's tasks by slot and time, those apart that do not pass.
func (e *engine) tasks(id string, pass ...func(swarm.Task) bool) (out []swarm.Task) {
	e.t.Helper()
	filters := url.QueryEscape(`{"service":{"` + id + `":true}}`)
	for _, t := range get[[]swarm.Task](e, "/tasks?filters="+filters) {
		if !slices.ContainsFunc(pass, func(f func(swarm.Task) bool) bool { return !f(t) }) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b swarm.Task) int {
		if a.Slot != b.Slot {
			return a.Slot - b.Slot
		}
		return a.CreatedAt.Compare(b.CreatedAt)
	})
	return out
}

// is passes tasks in one of the states.
func is(states ...swarm.TaskState) func(swarm.Task) bool {
	return func(t swarm.Task) bool { return slices.Contains(states, t.Status.State) }
}

// wanted passes tasks that are to run.
func wanted(t swarm.Task) bool { return t.DesiredState == swarm.TaskStateRunning }

func (e *engine) await(what string, f func() error) {
	e.t.Helper()
	await(e.t, e.h, 40*time.Second, what, f)
}

// runs waits until so many tasks of the service run and are to.
func (e *engine) runs(id string, n int) []swarm.Task {
	e.t.Helper()
	var out []swarm.Task
	e.await(fmt.Sprintf("%d tasks run", n), func() error {
		if out = e.tasks(id, wanted, is(swarm.TaskStateRunning)); len(out) != n || len(e.tasks(id, wanted)) != n {
			return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
		}
		return nil
	})
	return out
}

// told says how tasks stand.
func told(tasks []swarm.Task) string {
	var b strings.Builder
	for _, t := range tasks {
		fmt.Fprintf(&b, "%d:%s/%s %s; ", t.Slot, t.Status.State, t.DesiredState, t.Status.Err)
	}
	return b.String()
}

// updated waits for a state of the service's update.
func (e *engine) updated(id string, state swarm.UpdateState) swarm.Service {
	e.t.Helper()
	var s swarm.Service
	e.await("the update is "+string(state), func() error {
		if s = e.service(id); s.UpdateStatus == nil || s.UpdateStatus.State != state {
			return fmt.Errorf("%w: %+v, tasks %s", errNotYet, s.UpdateStatus, told(e.tasks(id)))
		}
		return nil
	})
	return s
}

func ids(tasks []swarm.Task) (out []string) {
	for _, t := range tasks {
		out = append(out, t.ID)
	}
	slices.Sort(out)
	return out
}

// plain returns a service's spec: replicas of a command in busybox, replaced quickly.
func plain(name string, replicas uint64, command ...string) swarm.ServiceSpec {
	grace, delay := time.Second, 100*time.Millisecond
	rules := func() *swarm.UpdateConfig {
		return &swarm.UpdateConfig{Parallelism: 1, Monitor: 200 * time.Millisecond, FailureAction: swarm.UpdateFailureActionPause}
	}
	return swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: name},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: busybox, Args: command, StopGracePeriod: &grace},
			RestartPolicy: &swarm.RestartPolicy{Delay: &delay},
		},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
		UpdateConfig: rules(), RollbackConfig: rules(),
	}
}

// force asks for new tasks of the same.
func force(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ }

// resting is a command that goes on, and ends when it is told to.
var resting = []string{"sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"}

// TestSemantics: what is easy to get wrong of swarm, one test for each of its numbers in
// docs/docker.md, by HTTP.
func TestSemantics(t *testing.T) {
	t.Run("real", func(t *testing.T) {
		e := newEngine(t, machine(t))
		for name, f := range realSemantics {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(e.of(t), "s"+name[:2])
			})
		}
	})
	t.Run("hollow", func(t *testing.T) {
		e, nodes := fleet(t)
		for name, f := range hollowSemantics {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(e.of(t), "s"+name[:2], nodes)
			})
		}
	})
}

// realSemantics are those that need containers.
var realSemantics = map[string]func(e *engine, name string){
	"02_failures_counted":   failuresCounted,
	"03_pause_and_rollback": pauseAndRollback,
	"06_update_order":       updateOrder,
	"07_restart":            restarts,
	"15_jobs":               jobs,
	"17_virtual_addresses":  virtualAddresses,
	"19_health":             healthy,
	"20_images_kept":        imagesKept,
	"21_templates":          templates,
	"24_stack_deploys":      stackDeploys,
	"27_logs":               serviceLogs,
}

func failuresCounted(e *engine, name string) {
	spec := plain(name, 2, resting...)
	spec.UpdateConfig.Delay = time.Second // or the second slot may go before the first has failed
	id := e.create(spec)
	e.runs(id, 2)
	e.change(id, func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Args = []string{"false"} })
	s := e.updated(id, swarm.UpdateStatePaused)
	if s.UpdateStatus.CompletedAt != nil {
		e.t.Errorf("a paused update is completed at %v", s.UpdateStatus.CompletedAt)
	}
	failed := e.tasks(id, is(swarm.TaskStateFailed))
	if len(failed) == 0 || !slices.ContainsFunc(failed, func(t swarm.Task) bool {
		return s.UpdateStatus.Message == "update paused due to failure or early termination of task "+t.ID
	}) {
		e.t.Errorf("%q names none of the failed tasks %v", s.UpdateStatus.Message, ids(failed))
	}
	if old := e.tasks(id, wanted, is(swarm.TaskStateRunning)); len(old) != 1 {
		e.t.Errorf("a paused update leaves the mixture: %s", told(e.tasks(id)))
	}
	// What fails after it was watched is none of the update's.
	e.change(id, func(s *swarm.ServiceSpec) {
		s.TaskTemplate.ContainerSpec.Args = []string{"sh", "-c", "sleep 3; exit 1"}
		s.UpdateConfig.Parallelism = 0
	})
	s = e.updated(id, swarm.UpdateStateCompleted)
	e.await("a task fails later", func() error {
		if len(e.tasks(id, is(swarm.TaskStateFailed), func(t swarm.Task) bool { return t.CreatedAt.After(*s.UpdateStatus.StartedAt) })) == 0 {
			return errNotYet
		}
		return nil
	})
	if s = e.service(id); s.UpdateStatus.State != swarm.UpdateStateCompleted {
		e.t.Errorf("after the update was completed it is %s", s.UpdateStatus.State)
	}
}

func pauseAndRollback(e *engine, name string) {
	spec := plain(name, 1, resting...)
	spec.UpdateConfig.FailureAction = swarm.UpdateFailureActionRollback
	id := e.create(spec)
	e.runs(id, 1)
	args := func(s swarm.ServiceSpec) string { return strings.Join(s.TaskTemplate.ContainerSpec.Args, " ") }
	e.change(id, func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Args = []string{"false"} })
	s := e.updated(id, swarm.UpdateStateRollbackCompleted)
	if args(s.Spec) != strings.Join(resting, " ") || s.PreviousSpec != nil {
		e.t.Errorf("a rollback by itself: spec %v, previous %v; want the old one, and none", args(s.Spec), s.PreviousSpec)
	}
	e.runs(id, 1)
	e.change(id, func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"A=1"} })
	e.updated(id, swarm.UpdateStateCompleted)
	for _, want := range []string{"[]", "[A=1]"} { // by hand the two change places
		e.rollback(id)
		s = e.updated(id, swarm.UpdateStateRollbackCompleted)
		if got := fmt.Sprint(s.Spec.TaskTemplate.ContainerSpec.Env); got != want || s.PreviousSpec == nil {
			e.t.Errorf("a rollback by hand: %s, want %s, and what was before stays", got, want)
		}
	}
}

func updateOrder(e *engine, name string) {
	spec := plain(name, 1, resting...)
	spec.UpdateConfig.Order = swarm.UpdateOrderStartFirst
	id := e.create(spec)
	old := e.runs(id, 1)[0]
	e.change(id, force)
	e.updated(id, swarm.UpdateStateCompleted)
	fresh := e.runs(id, 1)[0]
	was := e.ended(old.ID)
	if was.Status.State != swarm.TaskStateShutdown || was.Slot != fresh.Slot || was.Status.Timestamp.Before(fresh.CreatedAt) {
		e.t.Errorf("start-first: the old task is %s in slot %d at %v; the new one was made in slot %d at %v",
			was.Status.State, was.Slot, was.Status.Timestamp, fresh.Slot, fresh.CreatedAt)
	}
	e.change(id, func(s *swarm.ServiceSpec) { force(s); s.UpdateConfig.Order = swarm.UpdateOrderStopFirst })
	e.updated(id, swarm.UpdateStateCompleted)
	last := e.runs(id, 1)[0]
	was = e.ended(fresh.ID)
	if was.Status.State != swarm.TaskStateShutdown || last.CreatedAt.Before(was.Status.Timestamp) {
		e.t.Errorf("stop-first: the old task is %s at %v; the new one was made at %v", was.Status.State, was.Status.Timestamp, last.CreatedAt)
	}
}

// ended waits until a task has.
func (e *engine) ended(id string) (t swarm.Task) {
	e.t.Helper()
	e.await("the task has ended", func() error {
		if t = get[swarm.Task](e, "/tasks/"+id); t.Status.State == swarm.TaskStateRunning {
			return errNotYet
		}
		return nil
	})
	return t
}

func restarts(e *engine, name string) {
	attempts := uint64(2)
	spec := plain(name, 1, "false")
	spec.TaskTemplate.RestartPolicy.MaxAttempts = &attempts
	id := e.create(spec)
	e.await("three tasks have failed", func() error {
		if n := len(e.tasks(id, is(swarm.TaskStateFailed))); n != 3 {
			return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
		}
		return nil
	})
	spec = plain(name+"-done", 1, "true")
	spec.TaskTemplate.RestartPolicy.Condition = swarm.RestartPolicyConditionOnFailure
	done := e.create(spec)
	e.await("a task is complete", func() error {
		if len(e.tasks(done, is(swarm.TaskStateComplete))) != 1 {
			return errNotYet
		}
		return nil
	})
	filters := url.QueryEscape(`{"name":{"` + name + `-done":true}}`)
	list := get[[]swarm.Service](e, "/services?status=true&filters="+filters)
	if len(list) != 1 || list[0].ServiceStatus.RunningTasks != 0 || list[0].ServiceStatus.DesiredTasks != 1 {
		e.t.Errorf("what is done on-failure is 0 of 1 for ever: %+v", list[0].ServiceStatus)
	}
	if all := e.tasks(id); len(all) != 3 || slices.ContainsFunc(all, func(t swarm.Task) bool { return t.Slot != 1 }) {
		e.t.Errorf("after its attempts: %s", told(all))
	}
}

func jobs(e *engine, name string) {
	total, concurrent := uint64(3), uint64(2)
	spec := plain(name, 1, "true")
	spec.UpdateConfig, spec.RollbackConfig = nil, nil
	spec.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &concurrent, TotalCompletions: &total}}
	id := e.create(spec)
	complete := func(id string, iteration uint64, n int) {
		e.t.Helper()
		e.await(fmt.Sprintf("%d tasks of iteration %d are complete", n, iteration), func() error {
			slots := map[int]bool{}
			for _, t := range e.tasks(id, is(swarm.TaskStateComplete)) {
				if t.JobIteration != nil && t.JobIteration.Index == iteration && t.DesiredState == swarm.TaskStateComplete {
					slots[t.Slot] = true
				}
			}
			if len(slots) != n || !slots[0] {
				return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
			}
			return nil
		})
	}
	complete(id, 0, 3)
	first := e.service(id)
	e.change(id, func(s *swarm.ServiceSpec) { s.Labels = map[string]string{"a": "b"} })
	complete(id, 1, 3)
	s := e.service(id)
	if s.JobStatus == nil || s.JobStatus.JobIteration.Index != 1 || s.JobStatus.LastExecution.Before(first.JobStatus.LastExecution) {
		e.t.Errorf("JobStatus is %+v, it was %+v", s.JobStatus, first.JobStatus)
	}
	e.change(id, func(*swarm.ServiceSpec) {}) // nothing changes, and it runs again
	e.change(id, func(*swarm.ServiceSpec) {})
	complete(id, 3, 3)
	list := get[[]swarm.Service](e, "/services?status=true&filters="+url.QueryEscape(`{"id":{"`+id+`":true},"mode":{"replicated-job":true}}`))
	if len(list) != 1 || *list[0].ServiceStatus != (swarm.ServiceStatus{CompletedTasks: 3}) {
		e.t.Errorf("the job's status is %+v", list)
	}
	spec.Name, spec.Mode = name+"-global", swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}
	spec.Labels = map[string]string{"trireme.dev/schedule": "@every 1s"}
	global := e.create(spec)
	e.await("it has run on schedule", func() error {
		if s := e.service(global); s.JobStatus == nil || s.JobStatus.JobIteration.Index < 2 || s.Spec.Mode.GlobalJob == nil {
			return fmt.Errorf("%w: %+v", errNotYet, s.JobStatus)
		}
		return nil
	})
	spec.Name, spec.UpdateConfig = name+"-bad", &swarm.UpdateConfig{}
	if code, text := e.ask(http.MethodPost, "/services/create", spec); code != http.StatusBadRequest || !strings.Contains(text, "UpdateConfig") {
		e.t.Errorf("a job with an update config: %d: %s", code, text)
	}
}

func templates(e *engine, name string) {
	spec := plain(name, 2, "sh", "-c", "echo $WHO; exec sleep 1000")
	spec.Labels = map[string]string{"tier": "front"}
	spec.TaskTemplate.ContainerSpec.Env = []string{`WHO={{.Service.Name}} {{index .Service.Labels "tier"}} {{.Task.Slot}} {{.Task.Name}}`}
	id := e.create(spec)
	for _, t := range e.runs(id, 2) {
		want := fmt.Sprintf("%s front %d %s.%d.%s", name, t.Slot, name, t.Slot, t.ID)
		e.await("the task says "+want, func() error {
			if code, text := e.ask(http.MethodGet, "/tasks/"+t.ID+"/logs?stdout=1", nil); code != http.StatusOK || !strings.Contains(text, want) {
				return fmt.Errorf("%w: %d: %q", errNotYet, code, text)
			}
			return nil
		})
	}
}

// serviceLogs: the two outputs are told apart, and who follows sees tasks that come later.
func serviceLogs(e *engine, name string) {
	id := e.create(plain(name, 1, "sh", "-c", "echo one; echo two >&2; exec sleep 1000"))
	e.runs(id, 1)
	for query, want := range map[string]string{
		"stdout=1": "\x01\x00\x00\x00\x00\x00\x00\x04one\n", "stderr=1": "\x02\x00\x00\x00\x00\x00\x00\x04two\n",
	} {
		e.await("the log is there", func() error {
			if code, text := e.ask(http.MethodGet, "/services/"+id+"/logs?"+query, nil); code != http.StatusOK || text+"\n" != want {
				return fmt.Errorf("%w: %d: %q", errNotYet, code, text)
			}
			return nil
		})
	}
	ctx, cancel := context.WithTimeout(e.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/v1.44/services/"+id+"/logs?stdout=1&follow=1", nil)
	if err != nil {
		e.t.Fatal(err)
	}
	resp, err := e.web.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	e.change(id, func(s *swarm.ServiceSpec) { *s.Mode.Replicated.Replicas = 2 })
	frame := make([]byte, 2*len("\x01\x00\x00\x00\x00\x00\x00\x04one\n"))
	if _, err := io.ReadFull(resp.Body, frame); err != nil || strings.Count(string(frame), "one\n") != 2 {
		e.t.Errorf("following a service: %v: %q, want a line of the task that was there and of the one that came", err, frame)
	}
}

func healthy(e *engine, name string) {
	spec := plain(name, 1, "sh", "-c", "sleep 3; touch /tmp/well; sleep 1000")
	spec.TaskTemplate.ContainerSpec.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "test", "-e", "/tmp/well"}, Interval: time.Second, Retries: 30}
	id := e.create(spec)
	e.await("it is starting", func() error {
		if len(e.tasks(id, is(swarm.TaskStateStarting))) != 1 {
			return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
		}
		return nil
	})
	e.runs(id, 1)
	e.change(id, func(s *swarm.ServiceSpec) { // it never gets well, and is no longer than the monitor at it
		s.TaskTemplate.ContainerSpec.Args = []string{"sleep", "1000"}
		s.TaskTemplate.ContainerSpec.Healthcheck.Retries = 2
	})
	e.updated(id, swarm.UpdateStatePaused)
}
