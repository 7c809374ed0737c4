package marathon

import (
	"net/http"
	"slices"
	"strings"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/tables"
)

var deploymentRoutes = route{"GET": listDeployments, "DELETE": rollBack}

// deploymentInfo is a deployment as Marathon shows it.
type deploymentInfo struct {
	ID             string          `json:"id"`
	Version        string          `json:"version"`
	AffectedApps   []string        `json:"affectedApps"`
	AffectedPods   []string        `json:"affectedPods"`
	Steps          []stepInfo      `json:"steps"`
	CurrentActions []currentAction `json:"currentActions"`
	CurrentStep    int             `json:"currentStep"`
	TotalSteps     int             `json:"totalSteps"`
}

type stepInfo struct {
	Actions []actionInfo `json:"actions"`
}

type actionInfo struct {
	Action string `json:"action"`
	App    string `json:"app,omitempty"`
	Pod    string `json:"pod,omitempty"`
}

type currentAction struct {
	actionInfo
	ReadinessCheckResults []any `json:"readinessCheckResults"`
}

func stepOf(s marathon.Step) stepInfo {
	out := stepInfo{Actions: []actionInfo{}}
	for _, a := range s.Actions {
		out.Actions = append(out.Actions, actionOf(a))
	}
	return out
}

func actionOf(a marathon.Action) actionInfo {
	if a.Pod {
		return actionInfo{Action: strings.Replace(a.Action, "Application", "Pod", 1), Pod: a.App}
	}
	return actionInfo{Action: a.Action, App: a.App}
}

func stepsOf(d *marathon.Deployment) []stepInfo {
	out := []stepInfo{}
	for _, s := range d.Spec.Steps {
		out = append(out, stepOf(s))
	}
	return out
}

func (c *call) infoOf(d *marathon.Deployment) deploymentInfo {
	info := deploymentInfo{
		ID: d.Name, Version: d.Spec.Version, AffectedApps: append([]string{}, d.Affected(false)...), AffectedPods: append([]string{}, d.Affected(true)...), Steps: stepsOf(d),
		CurrentActions: []currentAction{}, TotalSteps: len(d.Spec.Steps), CurrentStep: min(int(d.Status.Step)+1, len(d.Spec.Steps)),
	}
	if at := int(d.Status.Step); at < len(d.Spec.Steps) {
		for _, a := range d.Spec.Steps[at].Actions {
			results := []any{}
			if app, err := c.findApp(a.App); err == nil {
				results = readiness(app, c.tasksOf(app))
			}
			info.CurrentActions = append(info.CurrentActions, currentAction{actionOf(a), results})
		}
	}
	return info
}

func listDeployments(c *call) (any, error) {
	if len(c.path) > 1 {
		return nil, missing("%s is not served: see docs/marathon.md for what is", c.URL.Path)
	}
	out := []deploymentInfo{}
	for d := range tables.MarathonDeployments(c.snap) {
		if d.Status.State == "" {
			out = append(out, c.infoOf(d))
		}
	}
	slices.SortFunc(out, func(a, b deploymentInfo) int { return compareText(a.Version, b.Version) })
	if len(c.path) == 0 {
		return out, nil
	}
	for _, d := range out {
		if d.ID == c.path[0] {
			return d, nil
		}
	}
	return nil, noDeployment(c.path[0])
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func noDeployment(id string) failure { return missing("DeploymentPlan %s does not exist", id) }

// rollBack ends a deployment: it makes another that leads back, or where it is forced leaves
// all as it stands.
func rollBack(c *call) (any, error) {
	if len(c.path) != 1 {
		return nil, missing("%s is not served: see docs/marathon.md for what is", c.URL.Path)
	}
	var d *marathon.Deployment
	for one := range tables.MarathonDeployments(c.snap) {
		if one.Name == c.path[0] && one.Status.State == "" {
			d = one
		}
	}
	if d == nil {
		return nil, noDeployment(c.path[0])
	}
	if c.flag("force", false) {
		if err := c.cancel(d); err != nil {
			return nil, err
		}
		return answer{code: http.StatusAccepted}, nil
	}
	c.forced = true // what it locks is what goes back
	return c.deploy(func(st *state) error {
		for id, from := range d.Spec.Originals {
			if a := st.apps[id]; a != nil && !c.rights.May("update", marathon.Apps.Group, marathon.Apps.Resource, object.KeyOf(a)) {
				return failure{http.StatusForbidden, message{Message: "Not Authorized to perform this action!"}}
			}
			if from == nil {
				delete(st.want, id)
				continue
			}
			st.want[id] = clone(from)
		}
		st.verbatim = true
		for id, g := range d.Spec.Groups {
			if g == nil {
				delete(st.groups, id)
				continue
			}
			st.groups[id] = g
		}
		return nil
	})
}
