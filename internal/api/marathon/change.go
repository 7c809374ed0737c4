package marathon

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/object/mesos"
	"trireme/internal/tables"
)

// manager is whom the Kubernetes door knows as the writer of fields.
const manager = "marathon"

// deploymentsMax is how many deployments there may be at once (§12).
const deploymentsMax = 100

// state is apps and groups: as they are, and as they are wanted.
type state struct {
	apps    map[string]*marathon.App // as they are
	want    map[string]*marathon.Definition
	had     map[string]*marathon.Group
	groups  map[string]*marathon.GroupSpec // as they are wanted
	version string                         // of what is written
	// restarts are the apps whose instances are made anew though nothing changes.
	restarts map[string]bool
	// verbatim keeps definitions as they are, versions and all: they were there before.
	verbatim bool
}

// deployed is what an accepted change answers.
type deployed struct {
	Version      string `json:"version"`
	DeploymentID string `json:"deploymentId"`
}

// current returns the state as it is. Whole, not as the caller sees it: ids, ports and
// locks are everybody's.
func (c *call) current() *state {
	snap := c.door.store.Snapshot()
	st := &state{
		apps: map[string]*marathon.App{}, want: map[string]*marathon.Definition{}, had: map[string]*marathon.Group{},
		groups: map[string]*marathon.GroupSpec{}, restarts: map[string]bool{},
	}
	for a := range tables.MarathonApps(snap) {
		if a.DeletionTimestamp == nil {
			st.apps[a.Spec.ID], st.want[a.Spec.ID] = a, &a.Spec
		}
	}
	for g := range tables.MarathonGroups(snap) {
		st.had[g.Spec.ID], st.groups[g.Spec.ID] = g, &g.Spec
	}
	return st
}

func (st *state) ids() []string { return slices.Sorted(maps.Keys(st.want)) }

func (st *state) dependsOn(id string) []string {
	d := st.want[id]
	if d == nil {
		return nil
	}
	return marathon.Waits(d, st.groups, st.ids())
}

// change makes what is wanted of what is, and writes it as a deployment.
func (c *call) change(want func(*state) error) (deployed, error) {
	c.door.changing.Lock()
	defer c.door.changing.Unlock()
	st := c.current()
	st.version = c.door.nextVersion()
	if err := want(st); err != nil {
		return deployed{}, err
	}
	changes, err := c.differences(st)
	if err != nil {
		return deployed{}, err
	}
	if err := c.locks(changes); err != nil {
		return deployed{}, err
	}
	d := &marathon.Deployment{Spec: marathon.DeploymentSpec{
		Version: st.version, Steps: marathon.Plan(changes, st.dependsOn), Originals: map[string]*marathon.Definition{},
	}}
	if d.Spec.Steps == nil {
		d.Spec.Steps = []marathon.Step{}
	}
	for id, one := range changes {
		d.Spec.Originals[id] = one.From
	}
	d.Name, d.Namespace = uuid.NewString(), metav1.NamespaceDefault
	if ids := slices.Sorted(maps.Keys(changes)); len(ids) > 0 {
		d.Namespace = changes[ids[0]].Namespace
	}
	if err := c.write(st, d, changes); err != nil {
		return deployed{}, err
	}
	return deployed{st.version, d.Name}, nil
}

// nextVersion returns a version that no other change has.
func (s *Server) nextVersion() string {
	now := time.Now().Truncate(time.Millisecond)
	if !now.After(s.last) {
		now = s.last.Add(time.Millisecond)
	}
	s.last = now
	return marathon.Stamp(now)
}

// differences finds the apps that change, completes what is wanted of them, and refuses
// what cannot be.
func (c *call) differences(st *state) (map[string]marathon.Change, error) {
	changes := map[string]marathon.Change{}
	for id, a := range st.apps {
		if st.want[id] == nil {
			changes[id] = marathon.Change{Namespace: a.Namespace, From: &a.Spec, UID: a.UID}
		}
	}
	for _, id := range st.ids() {
		d, was := st.want[id], st.apps[id]
		if was != nil && d == &was.Spec && !st.restarts[id] {
			continue
		}
		if err := st.role(d); err != nil {
			return nil, err
		}
		one := marathon.Change{Namespace: mesos.Namespace(d.Role), To: d}
		if was != nil {
			one.From, one.UID = &was.Spec, was.UID
			if was.Namespace != one.Namespace {
				return nil, marathon.Problems{{Path: "/role", Errors: []string{"an app stays in the namespace of its role, " + was.Namespace + ": delete it, and make it anew"}}}
			}
		}
		if !st.verbatim {
			if d = st.stamp(d, one.From); d == nil {
				continue
			}
			one.To, st.want[id] = d, d
		}
		if err := d.Validate(); err != nil {
			return nil, err
		}
		changes[id] = one
	}
	if err := st.ports(changes); err != nil {
		return nil, err
	}
	return changes, st.check()
}

// stamp writes when what has changed; nil: nothing has.
func (st *state) stamp(d, from *marathon.Definition) *marathon.Definition {
	next := *d
	next.Version = st.version
	if from == nil {
		next.VersionInfo = &marathon.VersionInfo{LastScalingAt: st.version, LastConfigChangeAt: st.version}
		return &next
	}
	info := marathon.VersionInfo{}
	if from.VersionInfo != nil {
		info = *from.VersionInfo
	}
	next.VersionInfo = &info
	same := from.Same(&next)
	if same && from.Count() == next.Count() && !st.restarts[d.ID] {
		return nil
	}
	if from.Count() != next.Count() {
		info.LastScalingAt = st.version
	}
	if !same || st.restarts[d.ID] {
		info.LastConfigChangeAt = st.version
	}
	return &next
}

// role gives an app the role of its top group where that enforces it, else everybody's, and
// refuses another where it is enforced.
func (st *state) role(d *marathon.Definition) error {
	top := marathon.Top(d.ID)
	if g := st.groups["/"+top]; g != nil && g.EnforceRole != nil && *g.EnforceRole {
		if d.Role == "" {
			d.Role = top
		}
		if d.Role != top {
			return marathon.Problems{{Path: "/role", Errors: []string{"got " + d.Role + ", expected " + top + ": group /" + top + " enforces it"}}}
		}
	}
	if d.Role == "" {
		d.Role = mesos.Everyone
	}
	return nil
}

// ports gives service ports to those that have none, and refuses those that others have.
func (st *state) ports(changes map[string]marathon.Change) error {
	taken := map[int32]string{}
	for _, id := range st.ids() {
		for _, p := range st.want[id].Ports() {
			if p.Service != 0 && taken[p.Service] == "" {
				taken[p.Service] = id
			}
		}
	}
	next := marathon.ServicePortMin
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		d := changes[id].To
		if d == nil {
			continue
		}
		for i, p := range d.Ports() {
			if p.Service != 0 {
				continue
			}
			for taken[next] != "" && next <= marathon.ServicePortMax {
				next++
			}
			if next > marathon.ServicePortMax {
				return marathon.Problems{{Path: "/portDefinitions", Errors: []string{"every service port is taken: remove an app"}}}
			}
			taken[next] = id
			d.SetServicePort(i, next)
		}
	}
	return nil
}

// check refuses ids that are an app's and a group's, and circles.
func (st *state) check() error {
	ids := st.ids()
	for _, id := range ids {
		for at := marathon.Parent(id); at != "/"; at = marathon.Parent(at) {
			if st.want[at] != nil {
				return marathon.Problems{{Path: "/id", Errors: []string{"conflicting: " + at + " is an app, and cannot be a group of " + id}}}
			}
		}
		if st.groups[id] != nil {
			return marathon.Problems{{Path: "/id", Errors: []string{"conflicting: " + id + " is a group, and cannot be an app"}}}
		}
	}
	if id := marathon.Circle(ids, st.dependsOn); id != "" {
		return marathon.Problems{{Path: "/dependencies", Errors: []string{"Dependency graph has cyclic dependencies: " + id + " depends on itself"}}}
	}
	return nil
}

// locks refuses to change apps that another deployment changes, or ends that one where the
// caller insists.
func (c *call) locks(changes map[string]marathon.Change) error {
	var locked []*marathon.Deployment
	count := 0
	for d := range tables.MarathonDeployments(c.door.store.Snapshot()) {
		if d.Status.State != "" {
			continue
		}
		count++
		if d.Affects(func(id string) bool { _, ok := changes[id]; return ok }) {
			locked = append(locked, d)
		}
	}
	if count-len(locked) >= deploymentsMax {
		return failure{http.StatusForbidden, message{Message: "Max number (100) of running deployments reached: wait for one to end"}}
	}
	if len(locked) == 0 {
		return nil
	}
	if !c.forced && !c.flag("force", false) {
		f := failure{http.StatusConflict, message{Message: "App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'."}}
		for _, d := range locked {
			f.body.Deployments = append(f.body.Deployments, idOnly{d.Name})
		}
		return f
	}
	for _, d := range locked {
		if err := c.cancel(d); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) cancel(d *marathon.Deployment) error {
	err := c.custom().Resource(marathon.Deployments).Namespace(d.Namespace).Delete(c.Context(), d.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fromKubernetes(err)
}

// write writes the deployment, then the apps and groups. Where one of them is refused all
// goes back.
func (c *call) write(st *state, d *marathon.Deployment, changes map[string]marathon.Change) error {
	ids := slices.Sorted(maps.Keys(changes))
	for _, id := range ids {
		if err := c.ensureNamespace(changes[id]); err != nil {
			return err
		}
	}
	if err := c.create(marathon.Deployments, d.Namespace, d.Name, map[string]any{"spec": d.Spec}); err != nil {
		return err
	}
	for n, id := range ids {
		if err := c.writeApp(st, id, changes[id], d.Name); err != nil {
			return errors.Join(err, c.cancel(d), c.back(st, ids[:n], changes))
		}
	}
	return c.writeGroups(st)
}

// back undoes what was written.
func (c *call) back(st *state, ids []string, changes map[string]marathon.Change) (err error) {
	for _, id := range ids {
		one := changes[id]
		if one.From == nil {
			err = errors.Join(err, c.writeApp(st, id, marathon.Change{Namespace: one.Namespace, From: one.To}, ""))
		} else if one.To != nil {
			err = errors.Join(err, c.writeApp(st, id, marathon.Change{Namespace: one.Namespace, From: one.To, To: one.From}, ""))
		}
	}
	return err
}

func (c *call) ensureNamespace(one marathon.Change) error {
	if one.To == nil {
		return nil
	}
	if _, ok := tables.Namespaces.Row(c.door.store.Snapshot(), object.Key{Name: one.Namespace}); ok {
		return nil
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: one.Namespace, Annotations: map[string]string{mesos.RoleAnnotation: one.To.Role}}}
	if _, err := c.typed().CoreV1().Namespaces().Create(c.Context(), ns, metav1.CreateOptions{FieldManager: manager}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fromKubernetes(err)
	}
	return nil
}

// create makes an object of one of our kinds, whose parts are given as what they are.
func (c *call) create(kind schema.GroupVersionResource, namespace, name string, parts map[string]any) error {
	u, err := unstructuredOf(kind, parts)
	if err != nil {
		return err
	}
	u.SetNamespace(namespace)
	u.SetName(name)
	if namespace == "" {
		_, err = c.custom().Resource(kind).Create(c.Context(), u, metav1.CreateOptions{FieldManager: manager})
	} else {
		_, err = c.custom().Resource(kind).Namespace(namespace).Create(c.Context(), u, metav1.CreateOptions{FieldManager: manager})
	}
	return fromKubernetes(err)
}

// kinds are what the resources hold.
var kinds = map[schema.GroupVersionResource]schema.GroupVersionKind{
	marathon.Apps: marathon.AppKind, marathon.Groups: marathon.GroupKind, marathon.Deployments: marathon.DeploymentKind,
}

func unstructuredOf(kind schema.GroupVersionResource, parts map[string]any) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	for name, part := range parts {
		tree, err := marathon.Tree(part)
		if err != nil {
			return nil, err
		}
		u.Object[name] = tree
	}
	u.SetGroupVersionKind(kinds[kind])
	return u, nil
}

// writeApp makes, changes or deletes one app.
func (c *call) writeApp(st *state, id string, one marathon.Change, deployment string) error {
	apps := c.custom().Resource(marathon.Apps).Namespace(one.Namespace)
	name := marathon.Name(id)
	switch {
	case one.To == nil:
		background := metav1.DeletePropagationBackground
		err := apps.Delete(c.Context(), name, metav1.DeleteOptions{PropagationPolicy: &background})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fromKubernetes(err)
	case one.From == nil:
		return c.create(marathon.Apps, one.Namespace, name, map[string]any{"spec": one.To, "deployment": deployment})
	}
	for try := 0; ; try++ {
		err := c.updateApp(st.apps[id], one, deployment)
		if !apierrors.IsConflict(err) || try == updateTries {
			return fromKubernetes(err)
		}
	}
}

// updateTries is how often an app is written again whose status the loop wrote meanwhile.
const updateTries = 20

func (c *call) updateApp(was *marathon.App, one marathon.Change, deployment string) error {
	key := object.Key{Namespace: one.Namespace, Name: marathon.Name(one.To.ID)}
	row, ok := tables.CustomObjects.Row(c.door.store.Snapshot(), tables.MarathonKey(marathon.Apps, key))
	if !ok {
		return noApp(one.To.ID)
	}
	u := row.Object().DeepCopy()
	parts, err := unstructuredOf(marathon.Apps, map[string]any{"spec": one.To, "versions": versionsOf(was, one.To)})
	if err != nil {
		return err
	}
	u.Object["spec"], u.Object["versions"], u.Object["deployment"] = parts.Object["spec"], parts.Object["versions"], deployment
	_, err = c.custom().Resource(marathon.Apps).Namespace(key.Namespace).Update(c.Context(), u, metav1.UpdateOptions{FieldManager: manager})
	return err
}

// versionsOf returns the former versions of an app that becomes to.
func versionsOf(a *marathon.App, to *marathon.Definition) []marathon.Definition {
	all := []marathon.Definition{}
	if a == nil {
		return all
	}
	for _, d := range append([]marathon.Definition{a.Spec}, a.Versions...) {
		if d.Version != to.Version && len(all) < marathon.VersionsMax {
			all = append(all, d)
		}
	}
	return all
}

// clone returns a copy that shares nothing.
func clone(d *marathon.Definition) *marathon.Definition {
	b, err := json.Marshal(d)
	next := &marathon.Definition{}
	if err == nil {
		err = json.Unmarshal(b, next)
	}
	if err != nil {
		panic("marathon: copying a definition: " + err.Error()) // it came from JSON
	}
	return next
}
