package marathon

import (
	"math"
	"net/http"
	"slices"
	"strings"

	"trireme/internal/object/marathon"
	"trireme/internal/tables"
)

var groupRoutes = route{"GET": getGroups, "POST": postGroups, "PUT": putGroups, "PATCH": patchGroups, "DELETE": deleteGroups}

// groupID returns the group that the path names, and the version that follows "versions".
func (c *call) groupID() (id, version string, versions bool) {
	parts := c.path
	if n := len(parts); n >= 1 && parts[n-1] == "versions" {
		return "/" + strings.Join(parts[:n-1], "/"), "", true
	} else if n >= 2 && parts[n-2] == "versions" {
		return "/" + strings.Join(parts[:n-2], "/"), parts[n-1], true
	}
	return "/" + strings.Join(parts, "/"), "", false
}

func noGroup(id string) failure { return missing("Group '%s' does not exist", id) }

// group is a group as Marathon shows it.
type group struct {
	ID           string   `json:"id"`
	Apps         []any    `json:"apps"`
	Groups       []*group `json:"groups"`
	Pods         []any    `json:"pods"`
	Dependencies []string `json:"dependencies"`
	Version      string   `json:"version,omitempty"`
	EnforceRole  *bool    `json:"enforceRole,omitempty"`
}

// forest is all groups by id.
type forest struct {
	byID map[string]*group
}

// at returns the group of an id, with the groups that it is in.
func (f *forest) at(id string) *group {
	if g := f.byID[id]; g != nil {
		return g
	}
	g := &group{ID: id, Apps: []any{}, Groups: []*group{}, Pods: []any{}, Dependencies: []string{}}
	f.byID[id] = g
	if id != "/" {
		parent := f.at(marathon.Parent(id))
		parent.Groups = append(parent.Groups, g)
	}
	return g
}

// forest returns the groups that the caller may see.
func (c *call) forest() (*forest, error) {
	f := &forest{byID: map[string]*group{}}
	f.at("/")
	v, shows := newView(c, "group.apps.", 0), embedsOf(c)
	for g := range tables.MarathonGroups(c.snap) {
		one := f.at(g.Spec.ID)
		one.Dependencies = append(one.Dependencies, g.Spec.Dependencies...)
		one.EnforceRole = g.Spec.EnforceRole
		f.touch(g.Spec.ID, g.Spec.Version)
	}
	for a := range tables.MarathonApps(c.snap) {
		if a.DeletionTimestamp != nil {
			continue
		}
		one := f.at(marathon.Parent(a.Spec.ID))
		f.touch(one.ID, a.Spec.Version)
		if a.Spec.Pod != nil {
			if shows["pods"] {
				one.Pods = append(one.Pods, a.Spec.ShowPod())
			}
			continue
		}
		if !shows["apps"] {
			continue
		}
		shown, err := c.app(a, v)
		if err != nil {
			return nil, err
		}
		one.Apps = append(one.Apps, shown)
	}
	if !shows["groups"] {
		for _, g := range f.byID {
			g.Groups = []*group{}
		}
	}
	return f, nil
}

// touch makes a group and those that it is in as young as a version.
func (f *forest) touch(id, version string) {
	for {
		if g := f.at(id); version > g.Version {
			g.Version = version
		}
		if id == "/" {
			return
		}
		id = marathon.Parent(id)
	}
}

// embedsOf returns what groups are shown with: all where the query asks for nothing.
func embedsOf(c *call) map[string]bool {
	asked := c.query()["embed"]
	if len(asked) == 0 {
		return map[string]bool{"apps": true, "groups": true, "pods": true}
	}
	out := map[string]bool{}
	for _, text := range asked {
		for one := range strings.SplitSeq(text, ",") {
			word, _ := strings.CutPrefix(strings.TrimSpace(one), "group.")
			word, _, _ = strings.Cut(word, ".")
			out[word] = true
		}
	}
	return out
}

func getGroups(c *call) (any, error) {
	id, version, versions := c.groupID()
	if versions {
		return c.groupVersions(id, version)
	}
	f, err := c.forest()
	if err != nil {
		return nil, err
	}
	if g := f.byID[id]; g != nil {
		return g, nil
	}
	return nil, noGroup(id)
}

// groupVersions lists what a group was before, or shows it as it was.
func (c *call) groupVersions(id, version string) (any, error) {
	f, err := c.forest()
	if err != nil {
		return nil, err
	}
	now := f.byID[id]
	if now == nil {
		return nil, noGroup(id)
	}
	if version == now.Version {
		return now, nil
	}
	all := []string{now.Version}
	for g := range tables.MarathonGroups(c.snap) {
		if g.Spec.ID != id {
			continue
		}
		for _, v := range g.Versions {
			if v.Version == version {
				return former(id, v), nil
			}
			all = append(all, v.Version)
		}
	}
	if version != "" {
		return nil, missing("Group '%s' does not exist in version '%s'", id, version)
	}
	return all, nil
}

// former shows a group as it was.
func former(id string, was marathon.GroupVersionState) *group {
	f := &forest{byID: map[string]*group{}}
	f.at(id).Version = was.Version
	for _, g := range was.Groups {
		f.at(g.ID).Dependencies = append([]string{}, g.Dependencies...)
	}
	for _, d := range was.Apps {
		one := f.at(marathon.Parent(d.ID))
		if d.Pod != nil {
			one.Pods = append(one.Pods, d.ShowPod())
			continue
		}
		one.Apps = append(one.Apps, d)
	}
	return f.byID[id]
}

func postGroups(c *call) (any, error) {
	tree, err := c.fields()
	if err != nil {
		return nil, err
	}
	below, _, _ := c.groupID()
	given, _ := tree["id"].(string)
	if given == "" {
		return nil, marathon.Problems{{Path: "/id", Errors: []string{"is missing: give the group an id"}}}
	}
	id := marathon.Resolve(given, below)
	made, err := c.change(func(st *state) error {
		if st.hasGroup(id) {
			return failure{http.StatusConflict, message{Message: "Group " + id + " is already created. Use PUT to change this group."}}
		}
		if st.apps[id] != nil {
			return failure{http.StatusConflict, message{Message: "An app with the path " + id + " already exists."}}
		}
		return st.applyGroup(id, tree)
	})
	if err != nil {
		return nil, err
	}
	return answer{code: http.StatusCreated, body: made, deployment: made.DeploymentID, location: "/v2/groups" + id}, nil
}

// hasGroup reports whether there is a group of the id: one that was written, or one that
// apps are in.
func (st *state) hasGroup(id string) bool {
	if id == "/" || st.groups[id] != nil {
		return true
	}
	return slices.ContainsFunc(st.ids(), func(app string) bool { return app != id && marathon.Within(app, id) })
}

// groupFields are what a group may say.
var groupFields = []string{"id", "apps", "groups", "pods", "dependencies", "version", "enforceRole", "scaleBy"}

// applyGroup makes what is wanted of a group what an update says: what it does not name stays.
func (st *state) applyGroup(id string, tree map[string]any) error {
	for name, v := range tree {
		if v != nil && !slices.Contains(groupFields, name) {
			return marathon.Problems{{Path: "/" + name, Errors: []string{"is not a field that is known here: leave it out"}}}
		}
	}
	spec := marathon.GroupSpec{ID: id}
	if was := st.groups[id]; was != nil {
		spec = *was
	}
	spec.Version = st.version
	if on, ok := tree["dependencies"].([]any); ok {
		spec.Dependencies = nil
		for _, one := range on {
			text, _ := one.(string)
			spec.Dependencies = append(spec.Dependencies, marathon.Resolve(text, marathon.Parent(id)))
		}
	}
	if enforce, ok := tree["enforceRole"].(bool); ok {
		if marathon.Parent(id) != "/" || id == "/" {
			return marathon.Problems{{Path: "/enforceRole", Errors: []string{"only top-level groups enforce roles"}}}
		}
		spec.EnforceRole = &enforce
	}
	st.groups[id] = &spec
	for _, what := range []struct {
		field string
		read  func(map[string]any, string) (*marathon.Definition, error)
		pods  bool
	}{{"apps", marathon.Parse, false}, {"pods", marathon.ParsePod, true}} {
		if all, ok := tree[what.field].([]any); ok {
			if err := st.applyApps(id, all, what.read, what.pods); err != nil {
				return err
			}
		}
	}
	groups, ok := tree["groups"].([]any)
	if !ok {
		return nil
	}
	return st.applyGroups(id, groups)
}

// applyApps makes the apps, or the pods, right in a group what an update says.
func (st *state) applyApps(id string, apps []any, read func(map[string]any, string) (*marathon.Definition, error), pods bool) error {
	named := map[string]bool{}
	for _, one := range apps {
		tree, ok := one.(map[string]any)
		if !ok {
			return marathon.Problems{{Path: "/apps", Errors: []string{"error.expected.jsobject"}}}
		}
		d, err := read(tree, id)
		if err != nil {
			return err
		}
		if !marathon.Within(d.ID, id) {
			return marathon.Problems{{Path: "/apps/id", Errors: []string{d.ID + " is not below " + id}}}
		}
		if was := st.apps[d.ID]; was != nil {
			d.VersionInfo = was.Spec.VersionInfo
			st.keepPorts(&was.Spec, d)
		}
		st.want[d.ID], named[d.ID] = d, true
	}
	for _, app := range st.ids() {
		if marathon.Parent(app) == id && !named[app] && pods == (st.want[app].Pod != nil) {
			delete(st.want, app)
		}
	}
	return nil
}

func (st *state) applyGroups(id string, groups []any) error {
	named := []string{}
	for _, one := range groups {
		tree, ok := one.(map[string]any)
		given, _ := tree["id"].(string)
		if !ok || given == "" {
			return marathon.Problems{{Path: "/groups/id", Errors: []string{"is missing: each group has its id"}}}
		}
		child := marathon.Resolve(given, id)
		if child == id || !marathon.Within(child, id) {
			return marathon.Problems{{Path: "/groups/id", Errors: []string{child + " is not below " + id}}}
		}
		if err := st.applyGroup(child, tree); err != nil {
			return err
		}
		named = append(named, child)
	}
	for _, app := range st.ids() {
		if marathon.Parent(app) != id && marathon.Within(app, id) && !slices.ContainsFunc(named, func(g string) bool { return marathon.Within(app, g) }) {
			delete(st.want, app)
		}
	}
	for g := range st.groups {
		if g != id && marathon.Within(g, id) && !slices.ContainsFunc(named, func(n string) bool { return marathon.Within(g, n) || marathon.Within(n, g) }) {
			delete(st.groups, g)
		}
	}
	return nil
}

func putGroups(c *call) (any, error) {
	id, _, _ := c.groupID()
	tree, err := c.fields()
	if err != nil {
		return nil, err
	}
	if given, _ := tree["id"].(string); len(c.path) == 0 && given != "" {
		id = marathon.Resolve(given, "/")
	}
	created := false
	want := func(st *state) error {
		created = !st.hasGroup(id)
		switch version, back := tree["version"].(string); {
		case tree["scaleBy"] != nil:
			return st.scaleGroup(id, tree["scaleBy"])
		case back && tree["apps"] == nil && tree["groups"] == nil:
			return st.groupBack(id, version)
		}
		return st.applyGroup(id, tree)
	}
	if c.flag("dryRun", false) {
		return c.dryRun(want)
	}
	made, err := c.change(want)
	if err != nil {
		return nil, err
	}
	a := answer{code: http.StatusOK, body: made, deployment: made.DeploymentID}
	if created {
		a.code, a.location = http.StatusCreated, "/v2/groups"+id
	}
	return a, nil
}

// dryRun tells the steps that a change would take.
func (c *call) dryRun(want func(*state) error) (any, error) {
	c.door.changing.Lock()
	defer c.door.changing.Unlock()
	st := c.current()
	st.version = c.door.nextVersion()
	if err := want(st); err != nil {
		return nil, err
	}
	changes, err := c.differences(st)
	if err != nil {
		return nil, err
	}
	d := &marathon.Deployment{Spec: marathon.DeploymentSpec{Steps: marathon.Plan(changes, st.dependsOn)}}
	return map[string]any{"steps": stepsOf(d)}, nil
}

// scaleGroup multiplies the instances of all apps of a group.
func (st *state) scaleGroup(id string, by any) error {
	number, ok := by.(interface{ Float64() (float64, error) })
	factor := -1.0
	if ok {
		factor, _ = number.Float64()
	}
	if !(factor >= 0 && factor <= 1e6) {
		return marathon.Problems{{Path: "/scaleBy", Errors: []string{"is to be a number, 0 or more"}}}
	}
	if !st.hasGroup(id) {
		return noGroup(id)
	}
	for _, app := range st.ids() {
		if marathon.Within(app, id) {
			next := clone(st.want[app])
			n := int32(math.Min(math.Ceil(float64(next.Count())*factor), math.MaxInt32))
			next.Instances = &n
			st.want[app] = next
		}
	}
	return nil
}

// groupBack makes a group what it was at a version.
func (st *state) groupBack(id, version string) error {
	g := st.had[id]
	if g == nil {
		return noGroup(id)
	}
	at := slices.IndexFunc(g.Versions, func(v marathon.GroupVersionState) bool { return v.Version == version })
	if at < 0 {
		if g.Spec.Version == version {
			return nil
		}
		return missing("Group '%s' does not exist in version '%s'", id, version)
	}
	for _, app := range st.ids() {
		if marathon.Within(app, id) {
			delete(st.want, app)
		}
	}
	for other := range st.groups {
		if marathon.Within(other, id) {
			delete(st.groups, other)
		}
	}
	for _, d := range g.Versions[at].Apps {
		st.want[d.ID] = clone(d)
	}
	for _, one := range g.Versions[at].Groups {
		one.Version = st.version
		st.groups[one.ID] = &one
	}
	return nil
}

func patchGroups(c *call) (any, error) {
	id, _, _ := c.groupID()
	tree, err := c.fields()
	if err != nil {
		return nil, err
	}
	enforce, ok := tree["enforceRole"].(bool)
	if !ok || len(tree) != 1 {
		return nil, marathon.Problems{{Path: "/enforceRole", Errors: []string{"is all that can be changed so: true or false"}}}
	}
	if _, err := c.change(func(st *state) error {
		if !st.hasGroup(id) {
			return noGroup(id)
		}
		return st.applyGroup(id, map[string]any{"enforceRole": enforce})
	}); err != nil {
		return nil, err
	}
	return answer{code: http.StatusOK}, nil
}

func deleteGroups(c *call) (any, error) {
	id, _, versions := c.groupID()
	if versions {
		return nil, failure{http.StatusMethodNotAllowed, message{Message: "HTTP 405 Method Not Allowed"}}
	}
	return c.deploy(func(st *state) error {
		if !st.hasGroup(id) {
			return noGroup(id)
		}
		for _, app := range st.ids() {
			if marathon.Within(app, id) {
				delete(st.want, app)
			}
		}
		for g := range st.groups {
			if marathon.Within(g, id) {
				delete(st.groups, g)
			}
		}
		return nil
	})
}
