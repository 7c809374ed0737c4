package marathon

import (
	"cmp"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
)

// podStatus is how a pod stands, as Marathon shows it.
type podStatus struct {
	ID                 string            `json:"id"`
	Spec               *marathon.PodSpec `json:"spec"`
	Status             string            `json:"status"`
	StatusSince        string            `json:"statusSince"`
	Instances          []podInstance     `json:"instances"`
	TerminationHistory []any             `json:"terminationHistory"`
	LastUpdated        string            `json:"lastUpdated"`
	LastChanged        string            `json:"lastChanged"`
}

type podInstance struct {
	ID            string         `json:"id"`
	Status        string         `json:"status"`
	StatusSince   string         `json:"statusSince"`
	Conditions    []any          `json:"conditions"`
	AgentHostname string         `json:"agentHostname,omitempty"`
	AgentID       string         `json:"agentId,omitempty"`
	Networks      []podNetwork   `json:"networks"`
	Containers    []podContainer `json:"containers"`
	SpecReference string         `json:"specReference"`
	LastUpdated   string         `json:"lastUpdated"`
	LastChanged   string         `json:"lastChanged"`
}

type podNetwork struct {
	Addresses []string `json:"addresses"`
}

type podContainer struct {
	Name        string                `json:"name"`
	Status      string                `json:"status"`
	StatusSince string                `json:"statusSince"`
	Conditions  []any                 `json:"conditions"`
	ContainerID string                `json:"containerId"`
	Endpoints   []podEndpoint         `json:"endpoints,omitempty"`
	Resources   marathon.PodResources `json:"resources"`
	Termination *termination          `json:"termination,omitempty"`
	LastUpdated string                `json:"lastUpdated"`
	LastChanged string                `json:"lastChanged"`
}

type podEndpoint struct {
	Name              string `json:"name"`
	AllocatedHostPort int32  `json:"allocatedHostPort,omitempty"`
	Healthy           *bool  `json:"healthy,omitempty"`
}

type termination struct {
	ExitCode int32  `json:"exitCode"`
	Message  string `json:"message"`
}

func (c *call) podStatus(a *marathon.App) podStatus {
	out := podStatus{
		ID: a.Spec.ID, Spec: a.Spec.ShowPod(), Status: "DEGRADED", Instances: []podInstance{}, TerminationHistory: []any{},
		LastUpdated: marathon.Stamp(time.Now()), LastChanged: a.Spec.Version, StatusSince: a.Spec.Version,
	}
	stable := 0
	for _, t := range c.tasksOf(a) {
		i := c.podInstance(a, t)
		if i.Status == "STABLE" {
			stable++
		}
		if i.StatusSince > out.StatusSince {
			out.StatusSince, out.LastChanged = i.StatusSince, i.StatusSince
		}
		out.Instances = append(out.Instances, i)
	}
	if stable == a.Spec.Count() && stable == len(out.Instances) {
		out.Status = "STABLE"
	}
	if f := a.Status.LastFailure; f != nil {
		out.TerminationHistory = append(out.TerminationHistory, map[string]any{
			"instanceID": f.TaskID, "startedAt": f.Timestamp, "terminatedAt": f.Timestamp, "message": f.Message, "containers": []any{},
		})
	}
	return out
}

// podInstance returns an instance of a pod.
func (c *call) podInstance(a *marathon.App, t task) podInstance {
	p := t.pod
	since := cmp.Or(t.StartedAt, t.StagedAt)
	i := podInstance{
		ID: marathon.InstanceID(a.Spec.ID, p.UID), Status: "STAGING", StatusSince: since, Conditions: []any{}, AgentHostname: t.Host, AgentID: t.SlaveID,
		Networks: []podNetwork{}, Containers: []podContainer{}, SpecReference: "/v2/pods" + a.Spec.ID + "::versions/" + t.Version,
		LastUpdated: marathon.Stamp(time.Now()), LastChanged: since,
	}
	switch {
	case t.State == "TASK_KILLING":
		i.Status = "TERMINAL"
	case t.State == "TASK_RUNNING" && ready(p):
		i.Status = "STABLE"
	case t.State == "TASK_RUNNING":
		i.Status = "DEGRADED"
	}
	var addresses []string
	for _, ip := range t.IPAddresses {
		addresses = append(addresses, ip.Address)
	}
	if len(addresses) > 0 {
		i.Networks = append(i.Networks, podNetwork{addresses})
	}
	if a.Spec.Pod == nil {
		return i
	}
	for n := range a.Spec.Pod.Containers {
		i.Containers = append(i.Containers, containerOf(a, p, &a.Spec.Pod.Containers[n], i))
	}
	return i
}

func containerOf(a *marathon.App, p *corev1.Pod, c *marathon.PodContainer, i podInstance) podContainer {
	out := podContainer{
		Name: c.Name, Status: "TASK_STAGING", StatusSince: i.StatusSince, Conditions: []any{}, ContainerID: i.ID + "." + c.Name + ".1", Resources: c.Resources,
		LastUpdated: i.LastUpdated, LastChanged: i.LastChanged,
	}
	healthy := false
	for _, s := range p.Status.ContainerStatuses {
		if s.Name != c.Name {
			continue
		}
		healthy = s.Ready
		switch {
		case s.State.Running != nil:
			out.Status, out.StatusSince = "TASK_RUNNING", marathon.Stamp(s.State.Running.StartedAt.Time)
		case s.State.Terminated != nil:
			out.Status, out.StatusSince = "TASK_FINISHED", marathon.Stamp(s.State.Terminated.FinishedAt.Time)
			if s.State.Terminated.ExitCode != 0 {
				out.Status = "TASK_FAILED"
			}
			out.Termination = &termination{s.State.Terminated.ExitCode, s.State.Terminated.Message}
		}
	}
	dynamic := 0
	for _, e := range a.Spec.Endpoints() {
		one := podEndpoint{Name: e.Name, AllocatedHostPort: e.Port.Host}
		if e.Port.OnHost && e.Port.Host == 0 {
			if n, err := strconv.ParseInt(p.Annotations[object.PortAnnotation(dynamic)], 10, 32); err == nil {
				one.AllocatedHostPort = int32(n)
			}
			dynamic++
		}
		if e.Container != c.Name {
			continue
		}
		if c.HealthCheck != nil {
			one.Healthy = &healthy
		}
		out.Endpoints = append(out.Endpoints, one)
	}
	return out
}
