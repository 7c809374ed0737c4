package marathon

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// eventsOf returns what a change of a row is; nothing: nothing that is told.
func (c *call) eventsOf(e *store.Event) []event {
	if kind, _, ok := tables.IsMarathon(e.Key()); ok {
		return c.customEvents(kind, e)
	}
	now, _ := e.Object().(*corev1.Pod)
	if now == nil || now.Labels[marathon.AppLabel] == "" {
		return nil
	}
	was, _ := e.Old().(*corev1.Pod)
	_, there := e.Row()
	return c.podEvents(was, now, there)
}

// podEvents tells of an instance's task.
func (c *call) podEvents(was, now *corev1.Pod, there bool) (out []event) {
	a, ok := tables.MarathonApp(c.door.store.Snapshot(), object.Key{Namespace: now.Namespace, Name: now.Labels[marathon.AppLabel]})
	if !ok {
		a = &marathon.App{Spec: marathon.Definition{ID: idOf(now)}}
	}
	t := c.task(a, now)
	state := func(p *corev1.Pod) string {
		if p == nil || p.Spec.NodeName == "" {
			return ""
		}
		return marathon.TaskState(p, false)
	}
	before, after := state(was), state(now)
	if !there {
		if was == nil || after == "TASK_FINISHED" || after == "TASK_FAILED" || after == "" {
			return nil
		}
		after, before = "TASK_KILLED", ""
	}
	version := now.Annotations[marathon.VersionAnnotation]
	instance := marathon.InstanceID(t.AppID, now.UID)
	if after != "" && after != before {
		out = append(out, event{"status_update_event", map[string]any{
			"slaveId": t.SlaveID, "taskId": t.ID, "taskStatus": after, "message": marathon.EndMessage(now), "appId": t.AppID, "host": t.Host,
			"ipAddresses": t.IPAddresses, "ports": t.Ports, "version": version,
		}}, event{"instance_changed_event", map[string]any{
			"instanceId": instance, "condition": conditions[after], "runSpecId": t.AppID, "agentId": t.SlaveID, "host": t.Host, "runSpecVersion": version,
		}})
	}
	if !there || !a.Spec.Checked() || was == nil || now.Status.Phase != corev1.PodRunning {
		return out
	}
	alive := ready(now)
	if ready(was) == alive {
		return out
	}
	return append(out, event{"health_status_changed_event", map[string]any{
		"appId": t.AppID, "instanceId": instance, "taskId": t.ID, "version": version, "alive": alive,
	}}, event{"instance_health_changed_event", map[string]any{"instanceId": instance, "runSpecId": t.AppID, "runSpecVersion": version, "healthy": alive}})
}

// conditions are Marathon's words for the states of Mesos.
var conditions = map[string]string{
	"TASK_STAGING": "Staging", "TASK_STARTING": "Starting", "TASK_RUNNING": "Running", "TASK_FINISHED": "Finished", "TASK_FAILED": "Failed",
	"TASK_KILLING": "Killing", "TASK_KILLED": "Killed", "TASK_UNREACHABLE": "Unreachable",
}

func ready(p *corev1.Pod) bool {
	cond := object.PodCondition(p, corev1.PodReady)
	return cond != nil && cond.Status == corev1.ConditionTrue
}

// idOf returns the id of an app that has gone, as its pod's variables say.
func idOf(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		for _, v := range c.Env {
			if v.Name == "MARATHON_APP_ID" {
				return v.Value
			}
		}
	}
	return "/" + p.Labels[marathon.AppLabel]
}

// read reads an object of an event; nil: there is none that can be read.
func read[T any](o store.Object) *T {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || u == nil {
		return nil
	}
	out, err := marathon.Read[T](u)
	if err != nil {
		return nil
	}
	return out
}

// customEvents tells of apps and deployments.
func (c *call) customEvents(kind schema.GroupVersionResource, e *store.Event) []event {
	_, there := e.Row()
	switch kind {
	case marathon.Apps:
		return appEvents(read[marathon.App](e.Old()), read[marathon.App](e.Object()), there)
	case marathon.Deployments:
		return deploymentEvents(read[marathon.Deployment](e.Old()), read[marathon.Deployment](e.Object()), there)
	case marathon.Groups:
		if now, was := read[marathon.Group](e.Object()), read[marathon.Group](e.Old()); now != nil && (was == nil || was.Spec.Version != now.Spec.Version || !there) {
			return []event{{"group_change_success", map[string]any{"groupId": now.Spec.ID, "version": now.Spec.Version}}}
		}
	}
	return nil
}

func marathonPodEvents(was, now *marathon.App, there bool) []event {
	kind := "pod_updated_event"
	switch {
	case !there:
		kind = "pod_deleted_event"
	case was == nil:
		kind = "pod_created_event"
	case was.Spec.Version == now.Spec.Version:
		return nil
	}
	return []event{{kind, map[string]any{"clientIp": "", "uri": "/v2/pods" + now.Spec.ID}}}
}

func appEvents(was, now *marathon.App, there bool) []event {
	if now != nil && now.Spec.Pod != nil {
		return marathonPodEvents(was, now, there)
	}
	switch {
	case now == nil:
		return nil
	case !there:
		return []event{{"app_terminated_event", map[string]any{"appId": now.Spec.ID}}}
	case was != nil && was.Spec.Version == now.Spec.Version:
		return nil
	}
	out := []event{{"api_post_event", map[string]any{"clientIp": "", "uri": "/v2/apps" + now.Spec.ID, "appDefinition": now.Spec}}}
	checks := func(a *marathon.App) []marathon.HealthCheck {
		if a == nil {
			return nil
		}
		return a.Spec.HealthChecks
	}
	if was == nil || was.Spec.Generation() != now.Spec.Generation() {
		for _, h := range checks(was) {
			out = append(out, event{"remove_health_check_event", map[string]any{"appId": now.Spec.ID, "healthCheck": h}})
		}
		for _, h := range checks(now) {
			out = append(out, event{"add_health_check_event", map[string]any{"appId": now.Spec.ID, "version": now.Spec.Version, "healthCheck": h}})
		}
	}
	return out
}

func deploymentEvents(was, now *marathon.Deployment, there bool) (out []event) {
	if now == nil {
		return nil
	}
	plan := map[string]any{"id": now.Name, "version": now.Spec.Version, "steps": stepsOf(now)}
	tell := func(kind string, step int) {
		body := map[string]any{"plan": plan}
		if kind == "deployment_success" || kind == "deployment_failed" {
			body["id"] = now.Name
		} else if step < len(now.Spec.Steps) {
			body["currentStep"] = stepOf(now.Spec.Steps[step])
		}
		out = append(out, event{kind, body})
	}
	if !there {
		if now.Status.State == "" {
			tell("deployment_failed", 0) // canceled
		}
		return out
	}
	done := 0
	if was != nil {
		done = int(was.Status.Step)
	} else {
		tell("deployment_info", 0)
	}
	for step := done; step < int(now.Status.Step); step++ {
		tell("deployment_step_success", step)
		if step+1 < len(now.Spec.Steps) {
			tell("deployment_info", step+1)
		}
	}
	if was != nil && was.Status.State == now.Status.State {
		return out
	}
	switch now.Status.State {
	case marathon.Succeeded:
		tell("deployment_success", 0)
	case marathon.Failed:
		tell("deployment_failed", 0)
	}
	return out
}
