package marathon

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/tables"
)

var appRoutes = route{"GET": getApps, "POST": postApps, "PUT": putApps, "PATCH": patchApps, "DELETE": deleteApps}

// target is what a path below /v2/apps means.
type target struct {
	id   string
	part string // tasks, versions, restart; empty: the app
	rest string // the task or version
}

// parse reads the path below /v2/apps.
func (c *call) target() target {
	parts := c.path
	n := len(parts)
	for back := 1; back <= 2 && back < n; back++ {
		switch word := parts[n-back]; word {
		case "tasks", "versions", "restart":
			t := target{id: "/" + strings.Join(parts[:n-back], "/"), part: word}
			if back == 2 {
				t.rest = parts[n-1]
			}
			return t
		}
	}
	return target{id: "/" + strings.Join(parts, "/")}
}

// findApp returns the app of an id, of those that the caller may see.
func (c *call) findApp(id string) (*marathon.App, error) {
	a, err := c.find(id)
	if err == nil && a.Spec.Pod != nil {
		return nil, noApp(id)
	}
	return a, err
}

// find returns the app or the pod of an id, of those that the caller may see.
func (c *call) find(id string) (*marathon.App, error) {
	for a := range tables.MarathonAppsNamed(c.snap, marathon.Name(id)) {
		if a.Spec.ID == id && a.DeletionTimestamp == nil {
			return a, nil
		}
	}
	return nil, noApp(id)
}

func getApps(c *call) (any, error) {
	if len(c.path) == 0 {
		return c.listApps("")
	}
	t := c.target()
	if group, all := strings.CutSuffix(t.id, "/*"); all {
		list, err := c.listApps(group)
		if err != nil {
			return nil, err
		}
		return map[string]any{"*": list["apps"]}, nil
	}
	a, err := c.findApp(t.id)
	if err != nil {
		return nil, err
	}
	switch t.part {
	case "tasks":
		return c.appTasks(a)
	case "versions":
		return versions(a, t.rest)
	case "restart":
		return nil, failure{http.StatusMethodNotAllowed, message{Message: "HTTP 405 Method Not Allowed"}}
	}
	shown, err := c.app(a, newView(c, "app.", embedAll))
	if err != nil {
		return nil, err
	}
	return map[string]any{"app": shown}, nil
}

// listApps returns the apps of a group that the query asks for.
func (c *call) listApps(group string) (map[string]any, error) {
	q := c.query()
	selector, err := parseSelector(q.Get("label"))
	if err != nil {
		return nil, failure{http.StatusBadRequest, message{Message: err.Error()}}
	}
	v := newView(c, "apps.", embedCounts|embedDeployments)
	out := []any{}
	for a := range tables.MarathonApps(c.snap) {
		d := &a.Spec
		cmd := ""
		if d.Cmd != nil {
			cmd = *d.Cmd
		}
		switch {
		case a.DeletionTimestamp != nil, d.Pod != nil, !marathon.Within(d.ID, "/"+strings.Trim(group, "/")), !strings.Contains(cmd, q.Get("cmd")), !strings.Contains(d.ID, q.Get("id")):
			continue
		case !selector.Matches(labels.Set(d.Labels)):
			continue
		}
		shown, err := c.app(a, v)
		if err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return map[string]any{"apps": out}, nil
}

// parseSelector reads a label selector of Marathon's, whose words are Kubernetes'.
func parseSelector(text string) (labels.Selector, error) {
	return labels.Parse(text)
}

func versions(a *marathon.App, version string) (any, error) {
	all := append([]marathon.Definition{a.Spec}, a.Versions...)
	if version == "" {
		out := []string{}
		for _, d := range all {
			out = append(out, d.Version)
		}
		return map[string]any{"versions": out}, nil
	}
	for _, d := range all {
		if d.Version == version {
			return d, nil
		}
	}
	return nil, missing("App '%s' does not exist in version '%s'", a.Spec.ID, version)
}

func postApps(c *call) (any, error) {
	if len(c.path) > 0 {
		return c.restart()
	}
	tree, err := c.fields()
	if err != nil {
		return nil, err
	}
	d, err := marathon.Parse(tree, "/")
	if err != nil {
		return nil, err
	}
	made, err := c.change(func(st *state) error {
		if st.apps[d.ID] != nil || st.want[d.ID] != nil {
			return failure{http.StatusConflict, message{Message: "An app with id [" + d.ID + "] already exists."}}
		}
		st.want[d.ID] = d
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.look()
	a, err := c.findApp(d.ID)
	if err != nil {
		return nil, err
	}
	shown, err := c.app(a, newView(c, "app.", embedAll))
	return answer{code: http.StatusCreated, body: shown, deployment: made.DeploymentID, location: "/v2/apps" + d.ID}, err
}

// restart makes all instances of an app anew.
func (c *call) restart() (any, error) {
	t := c.target()
	if t.part != "restart" || t.rest != "" {
		return nil, failure{http.StatusMethodNotAllowed, message{Message: "HTTP 405 Method Not Allowed"}}
	}
	return c.deploy(func(st *state) error {
		if a := st.apps[t.id]; a == nil || a.Spec.Pod != nil || !c.sees(a) {
			return noApp(t.id)
		}
		st.want[t.id], st.restarts[t.id] = clone(st.want[t.id]), true
		return nil
	})
}

// sees reports whether the caller may see the app.
func (c *call) sees(a *marathon.App) bool {
	return c.rights.Sees(tables.CustomObjects, tables.MarathonKey(marathon.Apps, object.KeyOf(a)))
}

// deploy makes a change, and answers with it.
func (c *call) deploy(want func(*state) error) (any, error) {
	made, err := c.change(want)
	if err != nil {
		return nil, err
	}
	return answer{code: http.StatusOK, body: made, deployment: made.DeploymentID}, nil
}

func putApps(c *call) (any, error)   { return c.update(true) }
func patchApps(c *call) (any, error) { return c.update(false) }

// update changes one app, or those of a list. Apps that are not there are made where the
// method allows that.
func (c *call) update(create bool) (any, error) {
	body, err := c.read()
	if err != nil {
		return nil, err
	}
	trees, list, err := updates(body, len(c.path) == 0)
	if err != nil {
		return nil, err
	}
	if !list {
		t := c.target()
		if t.part != "" {
			return nil, failure{http.StatusMethodNotAllowed, message{Message: "HTTP 405 Method Not Allowed"}}
		}
		if id, _ := trees[0]["id"].(string); id != "" && marathon.Resolve(id, marathon.Parent(t.id)) != t.id {
			return nil, marathon.Problems{{Path: "/id", Errors: []string{"is " + id + ": the path of the request says " + t.id}}}
		}
		trees[0]["id"] = t.id
	}
	made := false
	done, err := c.change(func(st *state) error {
		for _, tree := range trees {
			created, err := c.merge(st, tree, create)
			if err != nil {
				return err
			}
			made = made || created
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a := answer{code: http.StatusOK, body: done, deployment: done.DeploymentID}
	if made && !list {
		a.code, a.location = http.StatusCreated, "/v2/apps"+c.target().id
	}
	return a, nil
}

// updates reads the body of an update: an app, or a list of some.
func updates(body []byte, list bool) (trees []map[string]any, isList bool, err error) {
	bad := failure{http.StatusBadRequest, message{Message: marathon.ErrJSON.Error()}}
	if !list {
		tree, err := marathon.Fields(body)
		if err != nil {
			return nil, false, bad
		}
		return []map[string]any{tree}, false, nil
	}
	whole, err := marathon.Fields(append(append([]byte(`{"apps":`), body...), '}'))
	if err != nil {
		return nil, true, bad
	}
	all, ok := whole["apps"].([]any)
	if !ok {
		return nil, true, bad
	}
	for i, one := range all {
		tree, ok := one.(map[string]any)
		if id, _ := tree["id"].(string); !ok || id == "" {
			return nil, true, marathon.Problems{{Path: "/" + strconv.Itoa(i) + "/id", Errors: []string{"is missing: each app of a list has its id"}}}
		}
		trees = append(trees, tree)
	}
	return trees, true, nil
}

// merge writes what an update says into what is wanted. A version alone goes back to that
// one.
func (c *call) merge(st *state, tree map[string]any, create bool) (created bool, err error) {
	given, _ := tree["id"].(string)
	id := marathon.Resolve(given, "/")
	was := st.apps[id]
	if was != nil && (!c.sees(was) || was.Spec.Pod != nil) {
		was = nil
	}
	if was == nil {
		if !create || st.apps[id] != nil {
			return false, noApp(id)
		}
		d, err := marathon.Parse(tree, "/")
		st.want[id] = d
		return true, err
	}
	if version, ok := tree["version"].(string); ok && len(tree) == 2 {
		before, err := versions(was, version)
		if err != nil {
			return false, err
		}
		if d, ok := before.(marathon.Definition); ok {
			next := clone(&d)
			next.VersionInfo = was.Spec.VersionInfo
			st.want[id] = next
		}
		return false, nil
	}
	if c.flag("partialUpdate", true) {
		if tree, err = marathon.Overlay(&was.Spec, tree); err != nil {
			return false, err
		}
	}
	d, err := marathon.Parse(tree, "/")
	if err != nil {
		return false, err
	}
	d.VersionInfo = was.Spec.VersionInfo
	if d.Role == "" {
		d.Role = was.Spec.Role
	}
	st.keepPorts(&was.Spec, d)
	st.want[id] = d
	return false, nil
}

// keepPorts leaves an app the service ports that it was given.
func (st *state) keepPorts(was, d *marathon.Definition) {
	had := was.Ports()
	if was.Bridged() != d.Bridged() {
		return
	}
	for i, p := range d.Ports() {
		free := func(q marathon.Port) bool { return q.Service == had[i].Service }
		if p.Service == 0 && i < len(had) && !slices.ContainsFunc(d.Ports(), free) {
			d.SetServicePort(i, had[i].Service)
		}
	}
}

func deleteApps(c *call) (any, error) {
	if len(c.path) == 0 {
		return nil, failure{http.StatusMethodNotAllowed, message{Message: "HTTP 405 Method Not Allowed"}}
	}
	t := c.target()
	if t.part == "tasks" {
		return c.killAppTasks(t)
	}
	if _, err := c.findApp(t.id); err != nil {
		return nil, err
	}
	return c.deploy(func(st *state) error {
		if st.apps[t.id] == nil {
			return noApp(t.id)
		}
		delete(st.want, t.id)
		return nil
	})
}
