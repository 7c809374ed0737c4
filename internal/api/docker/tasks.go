package docker

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

var taskRoutes = map[string]handler{"GET /tasks": listTasks, "GET /tasks/{id}": inspectTask, "GET /tasks/{id}/logs": taskLogs}

// nodeIDs returns the ids of nodes by name.
func (c *call) nodeIDs() map[string]string {
	ids := map[string]string{}
	for n := range tables.Nodes.All(c.snap) {
		ids[n.Name] = ours.ID(n.UID)
	}
	return ids
}

// task returns a pod as a task.
func (c *call) task(s *ours.Service, p *corev1.Pod, nodes map[string]string) swarm.Task {
	t := swarm.Task{ID: ours.ID(p.UID), Meta: meta(p), ServiceID: ours.ID(s.UID), NodeID: nodes[p.Spec.NodeName], Spec: taskSpec(s, p)}
	t.Labels = map[string]string{}
	t.Slot, _ = strconv.Atoi(p.Labels[ours.SlotLabel])
	if mode(s) == "global" {
		t.Slot, t.NodeID = 0, p.Labels[ours.SlotLabel]
	}
	t.Status, t.DesiredState = taskStatus(p), swarm.TaskStateRunning
	if object.PodEnded(p) || p.DeletionTimestamp != nil {
		t.DesiredState = swarm.TaskStateShutdown
	}
	if t.Status.Timestamp.After(t.UpdatedAt) {
		t.UpdatedAt = t.Status.Timestamp
	}
	for _, port := range p.Spec.Containers[0].Ports {
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
			st.Err = "no suitable node (" + c.Message + ")"
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
	switch {
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
		at(end.FinishedAt.Time)
		if end.ExitCode != 0 && st.Err == "" {
			st.Err = "task: non-zero exit (" + strconv.Itoa(int(end.ExitCode)) + ")"
		}
	}
	return st
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
		present := s.Generation()
		for row := range tables.Pods.By(c.snap, tables.OwnerIndex, string(s.UID)) {
			if row.Head().Owner != s.UID || row.Head().UnderReview {
				continue
			}
			if f.upToDate() && row.Head().Labels[ours.GenerationLabel] != present {
				continue
			}
			t := c.task(s, row.Object(), nodes)
			if !f.prefix("id", t.ID) || len(wantNodes) > 0 && !wantNodes[t.NodeID] || !f.equal("desired-state", string(t.DesiredState)) ||
				!f.prefix("name", taskName(s, t)) || !f.labels("label", t.Labels) || !f.equal("runtime", "container") {
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
	if t.Slot == 0 {
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
