package marathon

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Deployment is a change of apps that is under way. Its name is its id.
type Deployment struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              DeploymentSpec   `json:"spec"`
	Status            DeploymentStatus `json:"status,omitzero"`
}

// DeploymentSpec is the plan.
type DeploymentSpec struct {
	Version string `json:"version"`
	Steps   []Step `json:"steps"`
	// Originals are the definitions before, by id; of an app that is new there is none.
	Originals map[string]*Definition `json:"originals,omitempty"`
	// Groups are what Groups were before that the change has written or taken away.
	Groups map[string]*GroupSpec `json:"groups,omitempty"`
}

// DeploymentStatus says how far it is.
type DeploymentStatus struct {
	Step  int32        `json:"step,omitempty"`  // the steps that are done
	State string       `json:"state,omitempty"` // once it is over
	Ended *metav1.Time `json:"ended,omitempty"`
}

// The states of a deployment that is over.
const (
	Succeeded = "success"
	Failed    = "failed"
)

// Step is actions that are taken at once.
type Step struct {
	Actions []Action `json:"actions"`
}

// Action is one app's part of a step.
type Action struct {
	Action string `json:"action"`
	App    string `json:"app"`
	Pod    bool   `json:"pod,omitempty"` // it is one of Marathon's pods
	// Namespace is where the app's object is.
	Namespace string `json:"namespace,omitempty"`
	// Version is the app's own that the action leads to.
	Version string `json:"version,omitempty"`
	// UID is the object of an app that is stopped.
	UID types.UID `json:"uid,omitempty"`
}

// The actions.
const (
	StartApplication   = "StartApplication"
	StopApplication    = "StopApplication"
	ScaleApplication   = "ScaleApplication"
	RestartApplication = "RestartApplication"
)

// Affected returns the ids of the apps, or of the pods, that the deployment changes, sorted.
func (d *Deployment) Affected(pods bool) []string {
	ids := map[string]bool{}
	for _, s := range d.Spec.Steps {
		for _, a := range s.Actions {
			if a.Pod == pods {
				ids[a.App] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// Affects reports whether the deployment changes an app or a pod that is chosen.
func (d *Deployment) Affects(chosen func(id string) bool) bool {
	return slices.ContainsFunc(d.Affected(false), chosen) || slices.ContainsFunc(d.Affected(true), chosen)
}

// Reached reports whether the app may follow its spec: the last step that has it has
// come.
func (d *Deployment) Reached(app string) bool {
	last := -1
	for i, s := range d.Spec.Steps {
		if slices.ContainsFunc(s.Actions, func(a Action) bool { return a.App == app }) {
			last = i
		}
	}
	return int(d.Status.Step) >= last
}

// Change is what becomes of one app.
type Change struct {
	Namespace string
	From, To  *Definition // nil: it is not there
	UID       types.UID   // of the object that is there
}

// Plan returns the steps by which apps change (§12): apps that go are stopped, new ones
// started with nothing, then apps follow by levels of dependency. dependsOn returns what
// an app of the target depends on, its groups' words included.
func Plan(changes map[string]Change, dependsOn func(id string) []string) (steps []Step) {
	var stop, start []Action
	levels := map[int][]Action{}
	l := leveler{dependsOn: dependsOn, known: map[string]int{}}
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		c := changes[id]
		a := Action{App: id, Namespace: c.Namespace, Pod: c.From != nil && c.From.Pod != nil || c.To != nil && c.To.Pod != nil}
		switch {
		case c.To == nil:
			a.Action, a.UID = StopApplication, c.UID
			stop = append(stop, a)
			continue
		case c.From == nil:
			first := a
			first.Action = StartApplication
			start = append(start, first)
			a.Action = ScaleApplication
		case c.From.Generation() == c.To.Generation():
			if c.From.Count() == c.To.Count() {
				continue
			}
			a.Action = ScaleApplication
		default:
			a.Action = RestartApplication
		}
		a.Version = c.To.Version
		at := l.level(id)
		levels[at] = append(levels[at], a)
	}
	for _, actions := range [][]Action{stop, start} {
		if len(actions) > 0 {
			steps = append(steps, Step{actions})
		}
	}
	for _, at := range slices.Sorted(maps.Keys(levels)) {
		steps = append(steps, Step{levels[at]})
	}
	return steps
}

// leveler counts the longest path of dependencies.
type leveler struct {
	dependsOn func(string) []string
	known     map[string]int
}

func (l *leveler) level(id string) int {
	if n, ok := l.known[id]; ok {
		return n
	}
	l.known[id] = 0 // circles are refused before
	n := 0
	for _, on := range l.dependsOn(id) {
		n = max(n, l.level(on)+1)
	}
	l.known[id] = n
	return n
}

// Circle returns an app that depends on itself by way of others; empty: none does.
func Circle(ids []string, dependsOn func(id string) []string) string {
	const open, closed = 1, 2
	state := map[string]int{}
	var visit func(id string) bool
	visit = func(id string) bool {
		switch state[id] {
		case open:
			return true
		case closed:
			return false
		}
		state[id] = open
		if slices.ContainsFunc(dependsOn(id), visit) {
			return true
		}
		state[id] = closed
		return false
	}
	for _, id := range ids {
		if visit(id) {
			return id
		}
	}
	return ""
}
