package marathon

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object/marathon"
	"trireme/internal/tables"
)

var taskRoutes = route{"GET": listTasks, "POST": deleteTasks}

func sortTasks(all []task) {
	slices.SortFunc(all, func(a, b task) int { return cmp.Or(cmp.Compare(a.StagedAt, b.StagedAt), cmp.Compare(a.ID, b.ID)) })
}

// states are what ?status= asks for.
var states = map[string][]string{"running": {"TASK_RUNNING"}, "staging": {"TASK_STAGING", "TASK_STARTING"}}

func listTasks(c *call) (any, error) {
	if len(c.path) > 0 {
		return nil, missing("%s is not served: see docs/marathon.md for what is", c.URL.Path)
	}
	var want []string
	for _, name := range append(c.query()["status"], c.query()["status[]"]...) {
		want = append(want, states[name]...)
	}
	all := []task{}
	for a := range tables.MarathonApps(c.snap) {
		all = append(all, c.tasksOf(a)...)
	}
	sortTasks(all)
	if len(want) > 0 {
		all = slices.DeleteFunc(all, func(t task) bool { return !slices.Contains(want, t.State) })
	}
	if c.wantsText() {
		return lines(all), nil
	}
	return map[string]any{"tasks": all}, nil
}

func (c *call) appTasks(a *marathon.App) (any, error) {
	all := c.tasksOf(a)
	if c.wantsText() {
		return lines(all), nil
	}
	return map[string]any{"tasks": all}, nil
}

// lines returns tasks as load balancers' scripts read them: a line for each service port,
// with where it leads.
func lines(all []task) answer {
	type key struct {
		app  string
		port int32
	}
	var order []key
	ends := map[key][]string{}
	for _, t := range all {
		for i, service := range t.ServicePorts {
			k := key{t.AppID, service}
			if _, ok := ends[k]; !ok {
				order = append(order, k)
			}
			if i < len(t.Ports) {
				ends[k] = append(ends[k], fmt.Sprintf("%s:%d", t.Host, t.Ports[i]))
			}
		}
	}
	var b strings.Builder
	for _, k := range order {
		fmt.Fprintf(&b, "%s\t%d\t%s\n", strings.ReplaceAll(strings.Trim(k.app, "/"), "/", "_"), k.port, strings.Join(ends[k], "\t"))
	}
	return answer{code: http.StatusOK, body: b.String(), text: true}
}

// kill ends tasks at once: their pods go, and where the app is not scaled down with them
// others take their places.
func (c *call) kill(tasks []task) error {
	for _, t := range tasks {
		uid := t.pod.UID
		err := c.typed().CoreV1().Pods(t.pod.Namespace).Delete(c.Context(), t.pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fromKubernetes(err)
		}
		if c.flag("wipe", false) {
			if err := c.wipe(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// wipe gives a task's volumes back: they go once the task has.
func (c *call) wipe(t task) error {
	for _, v := range t.pod.Spec.Volumes {
		if v.PersistentVolumeClaim == nil || t.pod.Labels[marathon.SlotLabel] == "" {
			continue
		}
		err := c.typed().CoreV1().PersistentVolumeClaims(t.pod.Namespace).Delete(c.Context(), v.PersistentVolumeClaim.ClaimName, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fromKubernetes(err)
		}
	}
	return nil
}

// scaleDown ends tasks and leaves their apps as many fewer instances.
func (c *call) scaleDown(tasks []task) (any, error) {
	fewer := map[string]int32{}
	for _, t := range tasks {
		fewer[t.AppID]++
	}
	return c.deploy(func(st *state) error {
		for id, n := range fewer {
			if st.apps[id] == nil {
				return noApp(id)
			}
			next := clone(st.want[id])
			left := max(int32(next.Count())-n, 0)
			next.Instances = &left
			st.want[id] = next
		}
		return c.kill(tasks)
	})
}

// appOf returns the app that a task is of, as the path says, else as the task's id does: some
// clients know its old form alone, and make a wrong path of it.
func (c *call) appOf(t target) (*marathon.App, error) {
	a, err := c.findApp(t.id)
	if uid, ok := marathon.TaskUID(t.rest); err != nil && ok {
		for one := range tables.MarathonApps(c.snap) {
			if slices.ContainsFunc(c.tasksOf(one), func(k task) bool { return k.pod.UID == uid }) {
				return one, nil
			}
		}
	}
	return a, err
}

// killAppTasks ends tasks of one app: one, those of a host, or all.
func (c *call) killAppTasks(t target) (any, error) {
	a, err := c.appOf(t)
	if err != nil {
		return nil, err
	}
	all := c.tasksOf(a)
	if t.rest != "" {
		all = slices.DeleteFunc(all, func(one task) bool { return !means(t.rest, one) })
		if len(all) == 0 {
			return nil, missing("Task '%s' does not exist", t.rest)
		}
	}
	if host := c.query().Get("host"); host != "" && host != "*" {
		all = slices.DeleteFunc(all, func(one task) bool { return one.Host != host && one.pod.Spec.NodeName != host })
	}
	if c.flag("scale", false) {
		return c.scaleDown(all)
	}
	if err := c.kill(all); err != nil {
		return nil, err
	}
	if t.rest != "" {
		return map[string]any{"task": all[0]}, nil
	}
	return map[string]any{"tasks": all}, nil
}

// means reports whether an id is the task's, or its instance's.
func means(id string, t task) bool {
	uid, ok := marathon.TaskUID(id)
	return ok && uid == t.pod.UID
}

func deleteTasks(c *call) (any, error) {
	if !slices.Equal(c.path, []string{"delete"}) {
		return nil, missing("%s is not served: see docs/marathon.md for what is", c.URL.Path)
	}
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	var body struct {
		IDs []string `json:"ids"`
	}
	if err := json.Unmarshal(b, &body); err != nil {
		return nil, failure{http.StatusBadRequest, message{Message: marathon.ErrJSON.Error()}}
	}
	var chosen []task
	for a := range tables.MarathonApps(c.snap) {
		for _, t := range c.tasksOf(a) {
			if slices.ContainsFunc(body.IDs, func(id string) bool { return means(id, t) }) {
				chosen = append(chosen, t)
			}
		}
	}
	if c.flag("scale", false) {
		return c.scaleDown(chosen)
	}
	if err := c.kill(chosen); err != nil {
		return nil, err
	}
	return map[string]any{"tasks": append([]task{}, chosen...)}, nil
}
