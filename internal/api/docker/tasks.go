package docker

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/api/docker/engine"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

var taskRoutes = map[string]handler{"GET /tasks": listTasks, "GET /tasks/{id}": inspectTask, "GET /tasks/{id}/logs": taskLogs}

// nodeIDs returns the ids of nodes by name: who sees a pod sees on which node it is.
func (c *call) nodeIDs() map[string]string { return engine.NodeIDs(c.all) }

// task returns a pod as a task.
func (c *call) task(s *ours.Service, p *corev1.Pod, nodes map[string]string) swarm.Task {
	t := swarm.Task{ID: ours.ID(p.UID), Meta: meta(p), ServiceID: ours.ID(s.UID), NodeID: nodes[p.Spec.NodeName], Spec: taskSpec(s, p)}
	t.Labels = map[string]string{}
	t.Slot, _ = strconv.Atoi(p.Labels[ours.SlotLabel])
	if s.PerNode() {
		t.Slot, t.NodeID = 0, p.Labels[ours.SlotLabel]
	}
	t.Status, t.DesiredState = taskStatus(p), swarm.TaskStateRunning
	if s.Job() {
		t.JobIteration, t.DesiredState = &swarm.Version{}, swarm.TaskStateComplete
		t.JobIteration.Index, _ = strconv.ParseUint(p.Labels[ours.IterationLabel], 10, 64)
	}
	done := s.Job() && p.Status.Phase == corev1.PodSucceeded
	if object.PodEnded(p) && !done || p.DeletionTimestamp != nil || p.Labels[ours.DesiredLabel] == ours.Shutdown {
		t.DesiredState = swarm.TaskStateShutdown
	}
	if t.Status.Timestamp.After(t.UpdatedAt) {
		t.UpdatedAt = t.Status.Timestamp
	}
	for _, port := range p.Spec.Containers[0].Ports {
		if port.HostPort == 0 {
			continue
		}
		t.Status.PortStatus.Ports = append(t.Status.PortStatus.Ports, swarm.PortConfig{
			Protocol: protocol(port.Protocol), TargetPort: uint32(port.ContainerPort), PublishedPort: uint32(port.HostPort), PublishMode: swarm.PortConfigPublishModeHost,
		})
	}
	t.NetworksAttachments = c.attachments(p)
	return t
}

// taskSpec returns what the task was made of: the present spec or the one before; of an
// older one the image is what is known.
func taskSpec(s *ours.Service, p *corev1.Pod) swarm.TaskSpec {
	generation := p.Labels[ours.GenerationLabel]
	if generation == s.Generation() {
		return s.Spec.TaskTemplate
	}
	if s.PreviousSpec != nil && (&ours.Service{Spec: *s.PreviousSpec}).Generation() == generation {
		return s.PreviousSpec.TaskTemplate
	}
	return swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: p.Spec.Containers[0].Image}}
}

// taskStatus reads the state of a task off its pod.
func taskStatus(p *corev1.Pod) swarm.TaskStatus {
	st := swarm.TaskStatus{Timestamp: p.CreationTimestamp.UTC(), State: swarm.TaskStatePending, Message: "pending task scheduling"}
	at := func(t time.Time) {
		if t.After(st.Timestamp) {
			st.Timestamp = t.UTC()
		}
	}
	for _, c := range p.Status.Conditions {
		at(c.LastTransitionTime.Time)
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			st.Err = cmp.Or(waitsFor(p), noSuitableNode(c.Message))
		}
	}
	if p.Spec.NodeName != "" {
		st.State, st.Message, st.Err = swarm.TaskStatePreparing, "preparing", ""
	}
	var cs corev1.ContainerStatus
	if len(p.Status.ContainerStatuses) > 0 {
		cs = p.Status.ContainerStatuses[0]
		_, id, _ := strings.Cut(cs.ContainerID, "://")
		st.ContainerStatus = &swarm.ContainerStatus{ContainerID: id}
	}
	rejected := p.Annotations[ours.ReasonAnnotation]
	switch {
	case rejected != "":
		st.State, st.Message, st.Err = swarm.TaskStateRejected, "task rejected by constraint enforcer", rejected
	case object.PodEnded(p) && p.Labels[ours.DesiredLabel] == ours.Shutdown:
		st.State, st.Message = swarm.TaskStateShutdown, "shutdown"
	case p.Status.Phase == corev1.PodSucceeded:
		st.State, st.Message = swarm.TaskStateComplete, "finished"
	case p.Status.Phase == corev1.PodFailed && len(p.Status.ContainerStatuses) == 0:
		st.State, st.Message, st.Err = swarm.TaskStateRejected, "rejected", cmp.Or(p.Status.Message, p.Status.Reason)
	case p.Status.Phase == corev1.PodFailed:
		st.State, st.Message, st.Err = swarm.TaskStateFailed, "started", p.Status.Message
	case cs.State.Running != nil && cs.Ready:
		st.State, st.Message = swarm.TaskStateRunning, "started"
	case cs.State.Running != nil:
		st.State, st.Message = swarm.TaskStateStarting, "starting"
	case cs.State.Waiting != nil && cs.State.Waiting.Message != "":
		st.Err = cs.State.Waiting.Message
	}
	if end := cs.State.Terminated; end != nil {
		st.ContainerStatus.ExitCode = int(end.ExitCode)
		st.Timestamp = end.FinishedAt.UTC()
		if end.ExitCode != 0 && st.Err == "" && st.State != swarm.TaskStateShutdown {
			st.Err = "task: non-zero exit (" + strconv.Itoa(int(end.ExitCode)) + ")"
		}
	}
	return st
}

// refusals are swarmkit's words for the scheduler's (manager/scheduler, filter).
var refusals = []struct{ here, there string }{
	{"free ports", "host-mode port already in use on %s"},
	{"Insufficient", "insufficient resources on %s"},
	{"Too many pods", "insufficient resources on %s"},
	{"placement constraints", "scheduling constraints not satisfied on %s"},
	{"another platform", "unsupported platform on %s"},
	{"as many replicas", "max replicas per node limit exceed"},
	{"not ready", "%s not available for new tasks"},
	{"unschedulable", "%s not available for new tasks"},
	{"untolerated taint", "%s not available for new tasks"},
}

var refusal = regexp.MustCompile(`^(\d+) (.*)$`)

// waitsFor says which services a task waits for, empty: none.
func waitsFor(p *corev1.Pod) string {
	var names []string
	for _, g := range p.Spec.SchedulingGates {
		if name, ok := strings.CutPrefix(g.Name, ours.GatePrefix); ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "waits for " + strings.Join(names, ", ") + " (" + ours.DependsOnLabel + ")"
}

// noSuitableNode says in docker's words why a task waits, from the scheduler's: "0/3 nodes
// are available: 2 REASON, 1 REASON." What docker has no words for stays as it is.
func noSuitableNode(message string) string {
	_, reasons, ok := strings.Cut(message, " nodes are available: ")
	if !ok {
		return "no suitable node (" + message + ")"
	}
	counts, order := map[string]int{}, []string{}
	for _, reason := range strings.Split(strings.TrimSuffix(reasons, "."), ", ") {
		text, n := "%s: "+reason, 1
		if m := refusal.FindStringSubmatch(reason); m != nil {
			n, _ = strconv.Atoi(m[1])
			text = m[2] + " on %s"
		}
		for _, r := range refusals {
			if strings.Contains(reason, r.here) {
				text = r.there
				break
			}
		}
		if counts[text] == 0 {
			order = append(order, text)
		}
		counts[text] += n
	}
	for i, text := range order {
		nodes := strconv.Itoa(counts[text]) + " node"
		if counts[text] > 1 {
			nodes += "s"
		}
		order[i] = strings.ReplaceAll(text, "%s", nodes)
	}
	return "no suitable node (" + strings.Join(order, "; ") + ")"
}

func listTasks(c *call) (any, error) {
	f, err := c.filters("_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service")
	if err != nil {
		return nil, err
	}
	services, err := c.filteredServices(f)
	if err != nil {
		return nil, err
	}
	wantNodes := map[string]bool{}
	for _, ref := range f["node"] {
		n, err := c.findNode(ref)
		if err != nil {
			return nil, err
		}
		wantNodes[ours.ID(n.UID)] = true
	}
	out, nodes := []swarm.Task{}, c.nodeIDs()
	for _, s := range services {
		label, present := s.Current()
		for row := range tables.Pods.By(c.snap, tables.OwnerIndex, string(s.UID)) {
			if row.Head().Owner != s.UID || row.Head().UnderReview {
				continue
			}
			if f.upToDate() && row.Head().Labels[label] != present {
				continue
			}
			t := c.task(s, row.Object(), nodes)
			if !f.prefix("id", t.ID) || len(wantNodes) > 0 && !wantNodes[t.NodeID] || !f.equal("desired-state", string(t.DesiredState)) ||
				!f.prefix("name", taskName(s, t)) || !f.labels("label", s.Spec.Labels) || !f.equal("runtime", "container") {
				continue
			}
			out = append(out, t)
		}
	}
	return out, nil
}

func (f filters) upToDate() bool { return slices.Contains(f["_up-to-date"], "true") }

// filteredServices returns the services that are asked for: each has to be there.
func (c *call) filteredServices(f filters) (out []*ours.Service, err error) {
	if len(f["service"]) == 0 {
		return slices.Collect(tables.Swarms(c.snap, "")), nil
	}
	for _, ref := range f["service"] {
		s, err := c.findService(ref)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// taskName returns the task's name as docker shows it: web.1.ID, web.NODE.ID.
func taskName(s *ours.Service, t swarm.Task) string {
	slot := strconv.Itoa(t.Slot)
	if s.PerNode() {
		slot = t.NodeID
	}
	return s.Spec.Name + "." + slot + "." + t.ID
}

// findTask returns the task of an id or the beginning of one, and its service.
func (c *call) findTask(ref string) (*ours.Service, *corev1.Pod, error) {
	type pair struct {
		s *ours.Service
		p *corev1.Pod
	}
	var all []pair
	for s := range tables.Swarms(c.snap, "") {
		for row := range tables.Pods.By(c.snap, tables.OwnerIndex, string(s.UID)) {
			if h := row.Head(); h.Owner == s.UID && !h.UnderReview && ref != "" && strings.HasPrefix(ours.ID(h.UID), ref) {
				all = append(all, pair{s, row.Object()})
			}
		}
	}
	one, err := find("task", ref, all, func(x pair) (string, string) { return ours.ID(x.p.UID), "" })
	return one.s, one.p, err
}

func inspectTask(c *call) (any, error) {
	s, p, err := c.findTask(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return c.task(s, p, c.nodeIDs()), nil
}

// protocol returns a port's protocol in docker's words.
func protocol(p corev1.Protocol) network.IPProtocol {
	return network.IPProtocol(strings.ToLower(string(p)))
}
