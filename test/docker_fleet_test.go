package test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"trireme/test/cluster"
)

// hollow is nodes without containers, which tests take for themselves.
type hollow struct {
	e       *engine
	victims *exec.Cmd // two nodes of their own

	mu   sync.Mutex
	free []string
}

// fleet starts a manager of hollow nodes.
func fleet(t *testing.T) (*engine, *hollow) {
	t.Helper()
	h := ownMachines(t, 1)[0]
	if err := h.Start("up", "--no-agent"); err != nil {
		t.Fatal(err)
	}
	await(t, h, 30*time.Second, "the API answers", func() error {
		_, err := h.Kubectl(t.Context(), "get", "ns", "default")
		return err
	})
	f := &hollow{e: newEngine(t, h)}
	f.start(t, h, "hollow-", "20")
	f.victims = f.start(t, h, "victim-", "2")
	await(t, h, 30*time.Second, "the hollow nodes are there", func() error {
		f.free = nil
		for _, n := range get[[]swarm.Node](f.e, "/nodes") {
			if n.Status.State == swarm.NodeStateReady && strings.HasPrefix(n.Description.Hostname, "hollow-") {
				f.free = append(f.free, n.ID)
			}
		}
		if len(f.free) != 20 {
			return fmt.Errorf("%w: %d are", errNotYet, len(f.free))
		}
		return nil
	})
	return f.e, f
}

func (f *hollow) start(t *testing.T, h *cluster.Host, prefix, count string) *exec.Cmd {
	t.Helper()
	sim := h.Command(t.Context(), binary(), "sim", "nodes", "--count", count, "--prefix", prefix, "--manager", h.Address+":6444")
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sim.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = sim.Wait()
	})
	return sim
}

// take gives a test so many nodes, with the label set of its name.
func (f *hollow) take(e *engine, n int, set string) []string {
	e.t.Helper()
	f.mu.Lock()
	if len(f.free) < n {
		f.mu.Unlock()
		e.t.Fatalf("there are not %d nodes left", n)
	}
	mine := f.free[:n:n]
	f.free = f.free[n:]
	f.mu.Unlock()
	for _, id := range mine {
		e.changeNode(id, func(s *swarm.NodeSpec) { s.Labels["set"] = set })
	}
	return mine
}

func (e *engine) changeNode(id string, f func(*swarm.NodeSpec)) {
	e.t.Helper()
	e.await("the node is changed", func() error {
		n := get[swarm.Node](e, "/nodes/"+id)
		f(&n.Spec)
		if code, text := e.ask(http.MethodPost, fmt.Sprintf("/nodes/%s/update?version=%d", id, n.Version.Index), n.Spec); code != http.StatusOK {
			return fmt.Errorf("%d: %s", code, text)
		}
		return nil
	})
}

// on returns a spec whose tasks run on the nodes of a set.
func on(set string, replicas uint64) swarm.ServiceSpec {
	spec := plain(set, replicas)
	spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.labels.set==" + set}}
	return spec
}

// each counts tasks by node.
func each(tasks []swarm.Task) map[string]int {
	count := map[string]int{}
	for _, t := range tasks {
		count[t.NodeID]++
	}
	return count
}

// hollowSemantics are those that need nodes, and no containers on them.
var hollowSemantics = map[string]func(e *engine, name string, nodes *hollow){
	"01_update_workers":  updateWorkers,
	"04_previous_spec":   previousSpec,
	"05_dirty":           dirty,
	"08_node_failure":    nodeFailure,
	"09_drain_and_pause": drainAndPause,
	"10_constraints":     constraints,
	"11_preferences":     preferences,
	"12_no_node":         noNode,
	"13_scale_down":      scaleDown,
	"14_history":         history,
	"16_version":         versions,
	"18_ports":           publishedPorts,
	"22_states":          states,
	"23_convergence":     convergence,
	"25_drain_in_order":  drainInOrder,
	"26_autoscale":       autoscaled,
	"28_rebalance":       rebalanced,
}

func updateWorkers(e *engine, name string, _ *hollow) {
	spec := plain(name, 4)
	spec.UpdateConfig.Parallelism, spec.UpdateConfig.Delay = 2, 2*time.Second
	id := e.create(spec)
	old := ids(e.runs(id, 4))
	e.change(id, force)
	s := e.updated(id, swarm.UpdateStateCompleted)
	tasks := e.runs(id, 4)
	slices.SortFunc(tasks, func(a, b swarm.Task) int { return a.CreatedAt.Compare(b.CreatedAt) })
	if slices.ContainsFunc(tasks, func(t swarm.Task) bool { return slices.Contains(old, t.ID) }) {
		e.t.Errorf("not all tasks are new: %v, they were %v", ids(tasks), old)
	}
	if d := tasks[2].CreatedAt.Sub(tasks[0].CreatedAt); d < 2*time.Second {
		e.t.Errorf("a worker took its second slot after %v, before the delay had passed", d)
	}
	// The last is watched a second more than the delay, which is longer than the monitor.
	if d := s.UpdateStatus.CompletedAt.Sub(tasks[3].CreatedAt); d < 3*time.Second {
		e.t.Errorf("the update was complete %v after its last task was made", d)
	}
}

func previousSpec(e *engine, name string, _ *hollow) {
	id := e.create(plain(name, 1))
	e.change(id, func(s *swarm.ServiceSpec) { *s.Mode.Replicated.Replicas = 2 })
	if s := e.service(id); s.PreviousSpec == nil || *s.PreviousSpec.Mode.Replicated.Replicas != 1 {
		e.t.Errorf("after a scale the previous spec is %+v", s.PreviousSpec)
	}
	e.change(id, func(s *swarm.ServiceSpec) { s.Labels = map[string]string{"a": "b"} })
	if s := e.service(id); *s.PreviousSpec.Mode.Replicated.Replicas != 2 || len(s.PreviousSpec.Labels) != 0 {
		e.t.Errorf("after a label the previous spec is %+v", s.PreviousSpec)
	}
}

func dirty(e *engine, name string, nodes *hollow) {
	nodes.take(e, 1, name)
	id := e.create(on(name, 2))
	was := ids(e.runs(id, 2))
	for what, f := range map[string]func(*swarm.ServiceSpec){
		"a label":              func(s *swarm.ServiceSpec) { s.Labels = map[string]string{"a": "b"} },
		"update rules":         func(s *swarm.ServiceSpec) { s.UpdateConfig.Parallelism = 3 },
		"a constraint it fits": func(s *swarm.ServiceSpec) { s.TaskTemplate.Placement.Constraints[0] += " " },
	} {
		e.change(id, f)
		if s := e.service(id); s.UpdateStatus != nil {
			e.t.Errorf("%s starts an update: %+v", what, s.UpdateStatus)
		}
	}
	e.change(id, func(s *swarm.ServiceSpec) { *s.Mode.Replicated.Replicas = 3 })
	if is := ids(e.runs(id, 3)); !slices.Contains(is, was[0]) || !slices.Contains(is, was[1]) {
		e.t.Errorf("the tasks were %v and are %v", was, is)
	}
	e.change(id, force)
	e.updated(id, swarm.UpdateStateCompleted)
	if is := ids(e.runs(id, 3)); slices.Contains(is, was[0]) || slices.Contains(is, was[1]) {
		e.t.Errorf("after --force the tasks were %v and are %v", was, is)
	}
}

func nodeFailure(e *engine, name string, nodes *hollow) {
	for _, n := range get[[]swarm.Node](e, "/nodes") {
		if strings.HasPrefix(n.Description.Hostname, "victim-") {
			e.changeNode(n.ID, func(s *swarm.NodeSpec) { s.Labels["set"] = name })
		}
	}
	id := e.create(on(name, 2))
	e.runs(id, 2)
	other := nodes.take(e, 1, name)[0]
	if err := nodes.victims.Process.Kill(); err != nil {
		e.t.Fatal(err)
	}
	e.await("both tasks run on the node that is left", func() error {
		if got := e.tasks(id, wanted, is(swarm.TaskStateRunning)); each(got)[other] != 2 {
			return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
		}
		return nil
	})
}

func drainAndPause(e *engine, name string, nodes *hollow) {
	mine := nodes.take(e, 2, name)
	available := func(id string, a swarm.NodeAvailability) {
		e.changeNode(id, func(s *swarm.NodeSpec) { s.Availability = a })
	}
	id := e.create(on(name, 2))
	was := e.runs(id, 2)
	if each(was)[mine[0]] != 1 {
		e.t.Fatalf("two tasks are not on two nodes: %v", each(was))
	}
	available(mine[0], swarm.NodeAvailabilityPause)
	e.change(id, func(s *swarm.ServiceSpec) { *s.Mode.Replicated.Replicas = 4 })
	if got := each(e.runs(id, 4)); got[mine[0]] != 1 || got[mine[1]] != 3 {
		e.t.Errorf("a node that is paused keeps its task and takes none: %v", got)
	}
	available(mine[0], swarm.NodeAvailabilityDrain)
	e.await("all tasks have left the node", func() error {
		if got := each(e.tasks(id, wanted, is(swarm.TaskStateRunning))); got[mine[1]] != 4 {
			return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
		}
		return nil
	})
	if left := e.tasks(id, is(swarm.TaskStateShutdown)); len(left) != 1 || left[0].NodeID != mine[0] {
		e.t.Errorf("what was drained: %s", told(e.tasks(id)))
	}
	before := ids(e.runs(id, 4))
	available(mine[0], swarm.NodeAvailabilityActive)
	if after := ids(e.runs(id, 4)); !slices.Equal(before, after) {
		e.t.Errorf("a node that is back drew tasks: %v, %v", before, after)
	}
}

// drainInOrder: by a label tasks leave a node as an update would replace them.
func drainInOrder(e *engine, name string, nodes *hollow) {
	mine := nodes.take(e, 2, name)
	e.changeNode(mine[1], func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityPause })
	spec := on(name, 3)
	spec.Labels = map[string]string{"trireme.dev/drain": "update-order"}
	spec.UpdateConfig.Order = swarm.UpdateOrderStartFirst
	id := e.create(spec)
	e.runs(id, 3)
	e.changeNode(mine[1], func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityActive })
	e.changeNode(mine[0], func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityDrain })
	e.await("all tasks have left the node", func() error {
		run := e.tasks(id, wanted, is(swarm.TaskStateRunning))
		if len(run) < 3 {
			e.t.Errorf("%d of 3 run while others leave: %s", len(run), told(e.tasks(id)))
		}
		if each(run)[mine[1]] != 3 {
			return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
		}
		return nil
	})
}

// autoscaled: by a label an autoscaler counts the tasks.
func autoscaled(e *engine, name string, _ *hollow) {
	spec := plain(name, 1)
	spec.Labels = map[string]string{"trireme.dev/autoscale": "min=2,max=5,cpu=70"}
	if code, text := e.ask(http.MethodPost, "/services/create", spec); code != http.StatusBadRequest || !strings.Contains(text, "Resources.Reservations") {
		e.t.Errorf("percent of nothing: %d: %s", code, text)
	}
	spec.TaskTemplate.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{NanoCPUs: 1e7}}
	id := e.create(spec)
	e.runs(id, 2)
	if s := e.service(id); *s.Spec.Mode.Replicated.Replicas != 2 {
		e.t.Errorf("the service has %d replicas", *s.Spec.Mode.Replicated.Replicas)
	}
}

func constraints(e *engine, name string, nodes *hollow) {
	mine := nodes.take(e, 2, name)
	for _, n := range mine {
		e.changeNode(n, func(s *swarm.NodeSpec) { s.Labels["disk"] = "SSD" })
	}
	spec := on(name, 2)
	spec.TaskTemplate.Placement.Constraints = append(spec.TaskTemplate.Placement.Constraints, "node.labels.disk == ssd", "node.labels.nothing != x", "node.ip==198.18.0.0/15")
	id := e.create(spec)
	e.runs(id, 2)
	e.changeNode(mine[0], func(s *swarm.NodeSpec) { delete(s.Labels, "disk") })
	e.await("the task on the other node is rejected and replaced", func() error {
		got := e.tasks(id, is(swarm.TaskStateRejected))
		if len(got) != 1 || got[0].NodeID != mine[0] || got[0].Status.Err != "assigned node no longer meets constraints" || each(e.tasks(id, wanted, is(swarm.TaskStateRunning)))[mine[1]] != 2 {
			return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
		}
		return nil
	})
	// Where no new task may go, those that are there stay.
	e.changeNode(mine[1], func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityPause })
	e.changeNode(mine[1], func(s *swarm.NodeSpec) { delete(s.Labels, "disk") })
	e.runs(id, 2)
	spec = plain(name+"-nowhere", 1)
	spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.colour!=blue"}}
	nowhere := e.create(spec)
	e.waits(nowhere, "scheduling constraints not satisfied on")
	if got := e.tasks(id, wanted, is(swarm.TaskStateRunning)); len(got) != 2 {
		e.t.Errorf("on a node that is paused: %s", told(e.tasks(id)))
	}
}

// waits waits until a task says why it has no node.
func (e *engine) waits(id, words string) {
	e.t.Helper()
	e.await("a task waits: "+words, func() error {
		for _, t := range e.tasks(id, is(swarm.TaskStatePending)) {
			if strings.HasPrefix(t.Status.Err, "no suitable node (") && strings.Contains(t.Status.Err, words) {
				return nil
			}
		}
		return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
	})
}

func preferences(e *engine, name string, nodes *hollow) {
	mine := nodes.take(e, 3, name)
	for i, rack := range []string{"1", "1", "2"} {
		e.changeNode(mine[i], func(s *swarm.NodeSpec) { s.Labels["rack"] = rack })
	}
	spec := on(name, 4)
	for _, d := range []string{"node.labels.rack", "node.hostname"} { // the latter is for nothing
		spec.TaskTemplate.Placement.Preferences = append(spec.TaskTemplate.Placement.Preferences, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: d}})
	}
	got := each(e.runs(e.create(spec), 4))
	if got[mine[0]] != 1 || got[mine[1]] != 1 || got[mine[2]] != 2 {
		e.t.Errorf("tasks on two nodes of a rack and one of another: %v", got)
	}
}

func noNode(e *engine, name string, nodes *hollow) {
	nodes.take(e, 2, name)
	spec := on(name, 3)
	spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8123, PublishMode: swarm.PortConfigPublishModeHost}}}
	e.waits(e.create(spec), "host-mode port already in use on 2 nodes")
	spec = on(name, 5)
	spec.Name += "-max"
	spec.TaskTemplate.Placement.MaxReplicas = 2
	id := e.create(spec)
	e.waits(id, "max replicas per node limit exceed")
	e.await("two run on each of two nodes", func() error {
		if got := e.tasks(id, is(swarm.TaskStateRunning)); len(got) != 4 {
			return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
		}
		return nil
	})
	spec = on(name, 1)
	spec.Name += "-big"
	spec.TaskTemplate.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{NanoCPUs: 1e12}}
	e.waits(e.create(spec), "insufficient resources on 2 nodes")
}

func scaleDown(e *engine, name string, nodes *hollow) {
	nodes.take(e, 2, name)
	id := e.create(on(name, 5))
	e.runs(id, 5)
	e.change(id, func(s *swarm.ServiceSpec) { *s.Mode.Replicated.Replicas = 2 })
	e.await("nothing tells of the others", func() error {
		if len(e.tasks(id)) != 2 {
			return fmt.Errorf("%w: %s", errNotYet, told(e.tasks(id)))
		}
		return nil
	})
	if got := each(e.runs(id, 2)); len(got) != 2 {
		e.t.Errorf("tasks are to leave the fullest node first: %v", got)
	}
}

func history(e *engine, name string, _ *hollow) {
	spec := plain(name, 1)
	spec.UpdateConfig.Monitor, spec.UpdateConfig.Order = time.Millisecond, swarm.UpdateOrderStartFirst
	id := e.create(spec)
	e.runs(id, 1)
	for range 6 {
		e.change(id, force)
		e.updated(id, swarm.UpdateStateCompleted)
	}
	e.await("five tasks are there in all", func() error {
		if all := e.tasks(id); len(all) != 5 || len(e.tasks(id, is(swarm.TaskStateShutdown))) != 4 {
			return fmt.Errorf("%w: %s", errNotYet, told(all))
		}
		return nil
	})
}

func versions(e *engine, name string, _ *hollow) {
	id := e.create(plain(name, 1))
	was := e.service(id)
	e.change(id, func(s *swarm.ServiceSpec) { s.Labels = map[string]string{"a": "b"} })
	if is := e.service(id); is.Version.Index <= was.Version.Index {
		e.t.Errorf("the version was %d and is %d", was.Version.Index, is.Version.Index)
	}
	path := fmt.Sprintf("/services/%s/update?version=%d", id, was.Version.Index)
	if code, text := e.ask(http.MethodPost, path, was.Spec); code != http.StatusInternalServerError || !strings.Contains(text, "update out of sequence") {
		e.t.Errorf("an update of what has moved: %d: %s", code, text)
	}
}

func publishedPorts(e *engine, name string, nodes *hollow) {
	nodes.take(e, 2, name)
	with := func(name string, port uint32, mode swarm.PortConfigPublishMode) swarm.ServiceSpec {
		spec := on("s18", 1)
		spec.Name = name
		spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: port, PublishMode: mode}}}
		return spec
	}
	e.create(with(name+"-a", 8124, swarm.PortConfigPublishModeIngress))
	for _, mode := range []swarm.PortConfigPublishMode{swarm.PortConfigPublishModeIngress, swarm.PortConfigPublishModeHost} {
		code, text := e.ask(http.MethodPost, "/services/create", with(name+"-b", 8124, mode))
		if code != http.StatusBadRequest || !strings.Contains(text, "port '8124' is already in use by service '"+name+"-a'") {
			e.t.Errorf("a port that another service has, in mode %s: %d: %s", mode, code, text)
		}
	}
	one := e.runs(e.create(with(name+"-c", 8125, swarm.PortConfigPublishModeHost)), 1)
	two := e.runs(e.create(with(name+"-d", 8125, swarm.PortConfigPublishModeHost)), 1)
	if one[0].NodeID == two[0].NodeID {
		e.t.Errorf("two services have the same port of node %s", one[0].NodeID)
	}
}

// order is that of the states of a task.
var order = []swarm.TaskState{
	swarm.TaskStateNew, swarm.TaskStateAllocated, swarm.TaskStatePending, swarm.TaskStateAssigned, swarm.TaskStateAccepted, swarm.TaskStatePreparing,
	swarm.TaskStateReady, swarm.TaskStateStarting, swarm.TaskStateRunning, swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateFailed,
	swarm.TaskStateRejected, swarm.TaskStateRemove, swarm.TaskStateOrphaned,
}

func states(e *engine, name string, _ *hollow) {
	id := e.create(plain(name, 3))
	e.runs(id, 3)
	e.change(id, force)
	seen := map[string]int{}
	e.await("the update is complete", func() error {
		for _, t := range e.tasks(id) {
			at := slices.Index(order, t.Status.State)
			if at < seen[t.ID] {
				e.t.Errorf("task %s was %s and is %s", t.ID, order[seen[t.ID]], t.Status.State)
			}
			seen[t.ID] = max(at, 0)
			if at < 0 || !slices.Contains(order[6:], t.DesiredState) {
				e.t.Errorf("task %s is %q, desired %q", t.ID, t.Status.State, t.DesiredState)
			}
		}
		if s := e.service(id); s.UpdateStatus == nil || s.UpdateStatus.State != swarm.UpdateStateCompleted {
			return errNotYet
		}
		return nil
	})
	if len(seen) != 6 {
		e.t.Errorf("three tasks replaced three: %v", seen)
	}
}

func convergence(e *engine, name string, _ *hollow) {
	spec := plain(name, 3)
	spec.UpdateConfig.Parallelism = 0
	id := e.create(spec)
	was := ids(e.runs(id, 3))
	e.change(id, force)
	filters := url.QueryEscape(`{"service":{"` + id + `":true},"_up-to-date":{"true":true}}`)
	e.await("what is up to date runs", func() error {
		slots := map[int]bool{}
		for _, t := range get[[]swarm.Task](e, "/tasks?filters="+filters) {
			if slices.Contains(was, t.ID) {
				e.t.Errorf("task %s of before is up to date", t.ID)
			}
			if t.DesiredState == swarm.TaskStateRunning && t.Status.State == swarm.TaskStateRunning {
				slots[t.Slot] = true
			}
		}
		if len(slots) != 3 {
			return fmt.Errorf("%w: %v", errNotYet, slots)
		}
		return nil
	})
	e.updated(id, swarm.UpdateStateCompleted)
}

// TestDockerErrors: what is wrong is answered with the status and words that docker's
// clients look for.
func TestDockerErrors(t *testing.T) {
	e := newEngine(t, machine(t))
	id := e.create(plain("errs", 0))
	e.create(plain("errs2", 0))
	update := func(version string) string { return "/services/" + id + "/update?version=" + version }
	now := fmt.Sprint(e.service(id).Version.Index)
	spec := func(f func(*swarm.ServiceSpec)) swarm.ServiceSpec {
		s := plain("errs", 0)
		f(&s)
		return s
	}
	for _, c := range []struct {
		method, path string
		body         any
		code         int
		words        string
	}{
		{"POST", "/services/create", "{", 400, "invalid JSON"},
		{"POST", "/services/create", `{"Name":7}`, 400, "invalid ServiceSpec"},
		{"POST", "/services/create", spec(func(*swarm.ServiceSpec) {}), 409, "name conflicts with an existing object"},
		{"POST", "/services/create", spec(func(s *swarm.ServiceSpec) { s.Name = "-x" }), 400, "code = InvalidArgument"},
		{"POST", "/services/create", spec(func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "" }), 400, "ContainerSpec.Image"},
		{"POST", "/services/create", spec(func(s *swarm.ServiceSpec) { s.Mode.Global = &swarm.GlobalService{} }), 400, "Mode"},
		{"POST", "/services/create", spec(func(s *swarm.ServiceSpec) { s.UpdateConfig.Order = "sideways" }), 400, "UpdateConfig.Order"},
		{"POST", "/services/create", spec(func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Resources = &swarm.ResourceRequirements{Limits: &swarm.Limit{MemoryBytes: 1}}
		}), 400, "Must be at least 4MiB"},
		{"POST", update("x"), spec(func(*swarm.ServiceSpec) {}), 400, "invalid version"},
		{"POST", update("1"), spec(func(*swarm.ServiceSpec) {}), 500, "update out of sequence"},
		{"POST", update(now), spec(func(s *swarm.ServiceSpec) { s.Name = "errs3" }), 501, "renaming services is not supported"},
		{"POST", update(now), spec(func(s *swarm.ServiceSpec) { s.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}} }), 501, "service mode change is not allowed"},
		{"POST", update(now) + "&rollback=previous", spec(func(*swarm.ServiceSpec) {}), 400, "does not have a previous spec"},
		{"POST", update(now) + "&rollback=often", spec(func(*swarm.ServiceSpec) {}), 400, "invalid rollback"},
		{"POST", "/services/none/update?version=1", spec(func(*swarm.ServiceSpec) {}), 404, "service none not found"},
		{"GET", "/services/none", nil, 404, "service none not found"},
		{"DELETE", "/services/none", nil, 404, "service none not found"},
		{"GET", "/services?filters=x", nil, 400, "invalid filter"},
		{"GET", "/services?filters=" + url.QueryEscape(`{"colour":["x"]}`), nil, 400, "invalid filter 'colour'"},
		{"GET", "/services/errs/logs", nil, 400, "at least one stream"},
		{"GET", "/services/errs/logs?stdout=1&tail=x", nil, 400, "invalid tail"},
		{"GET", "/tasks/none", nil, 404, "task none not found"},
		{"GET", "/tasks?filters=" + url.QueryEscape(`{"service":["none"]}`), nil, 404, "service none not found"},
		{"GET", "/tasks?filters=" + url.QueryEscape(`{"node":["none"]}`), nil, 404, "node none not found"},
		{"GET", "/nodes/none", nil, 404, "node none not found"},
		{"POST", "/nodes/self/update?version=x", swarm.NodeSpec{}, 400, "invalid version"},
		{"POST", "/nodes/self/update?version=1", swarm.NodeSpec{Availability: "asleep"}, 400, "Availability"},
		{"POST", "/nodes/self/update?version=1", swarm.NodeSpec{}, 500, "update out of sequence"},
		{"DELETE", "/nodes/self", nil, 400, "must be demoted to worker before removal"},
		{"POST", "/no/such/thing", nil, 501, "is not served"},
	} {
		code, text := e.ask(c.method, c.path, c.body)
		if code != c.code || !strings.Contains(text, c.words) || !strings.HasPrefix(text, `{"message":`) {
			t.Errorf("%s %s %s: %d: %s; want %d with %q", c.method, c.path, cmp.Or(fmt.Sprint(c.body), "-"), code, text, c.code, c.words)
		}
	}
}
