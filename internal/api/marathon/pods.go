package marathon

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"trireme/internal/object/marathon"
	"trireme/internal/tables"
)

var podRoutes = route{"GET": getPods, "HEAD": func(*call) (any, error) { return answer{code: http.StatusOK}, nil }, "POST": postPods, "PUT": putPods, "DELETE": deletePods}

func noPod(id string) failure { return missing("Pod '%s' does not exist", id) }

// podTarget returns the pod that the path names, and what follows its "::".
func (c *call) podTarget() (id, part string) {
	id, part, _ = strings.Cut("/"+strings.Join(c.path, "/"), "::")
	return id, part
}

// findPod returns the pod of an id, of those that the caller may see.
func (c *call) findPod(id string) (*marathon.App, error) {
	a, err := c.find(id)
	if err != nil || a.Spec.Pod == nil {
		return nil, noPod(id)
	}
	return a, nil
}

// pods yields the pods that the caller may see.
func (c *call) pods() (all []*marathon.App) {
	for a := range tables.MarathonApps(c.snap) {
		if a.Spec.Pod != nil && a.DeletionTimestamp == nil {
			all = append(all, a)
		}
	}
	return all
}

func getPods(c *call) (any, error) {
	id, part := c.podTarget()
	if id == "/" && part == "" {
		out := []any{}
		for _, a := range c.pods() {
			out = append(out, a.Spec.ShowPod())
		}
		return out, nil
	}
	a, err := c.findPod(id)
	if err != nil {
		return nil, err
	}
	word, rest, _ := strings.Cut(part, "/")
	switch word {
	case "":
		return a.Spec.ShowPod(), nil
	case "status":
		return c.podStatus(a), nil
	case "versions":
		return podVersions(a, rest)
	}
	return nil, missing("%s is not served: see docs/marathon.md for what is", c.URL.Path)
}

func listPodStatus(c *call) (any, error) {
	out := []any{}
	for _, a := range c.pods() {
		out = append(out, c.podStatus(a))
	}
	return out, nil
}

func podVersions(a *marathon.App, version string) (any, error) {
	all := append([]marathon.Definition{a.Spec}, a.Versions...)
	list := []string{}
	for i := range all {
		if version == all[i].Version {
			return all[i].ShowPod(), nil
		}
		list = append(list, all[i].Version)
	}
	if version != "" {
		return nil, missing("Pod '%s' does not exist in version '%s'", a.Spec.ID, version)
	}
	return list, nil
}

func postPods(c *call) (any, error) {
	if len(c.path) > 0 {
		return nil, failure{http.StatusMethodNotAllowed, message{Message: "HTTP 405 Method Not Allowed"}}
	}
	tree, err := c.fields()
	if err != nil {
		return nil, err
	}
	d, err := marathon.ParsePod(tree, "/")
	if err != nil {
		return nil, err
	}
	return c.putPod(d, http.StatusCreated, func(st *state) error {
		if st.want[d.ID] != nil {
			return failure{http.StatusConflict, message{Message: "A pod with id [" + d.ID + "] already exists."}}
		}
		return nil
	})
}

func putPods(c *call) (any, error) {
	id, part := c.podTarget()
	if part != "" {
		return nil, failure{http.StatusMethodNotAllowed, message{Message: "HTTP 405 Method Not Allowed"}}
	}
	tree, err := c.fields()
	if err != nil {
		return nil, err
	}
	if given, _ := tree["id"].(string); given != "" && marathon.Resolve(given, marathon.Parent(id)) != id {
		return nil, marathon.Problems{{Path: "/id", Errors: []string{"is " + given + ": the path of the request says " + id}}}
	}
	tree["id"] = id
	d, err := marathon.ParsePod(tree, "/")
	if err != nil {
		return nil, err
	}
	return c.putPod(d, http.StatusOK, func(st *state) error {
		was := st.apps[id]
		if was == nil || was.Spec.Pod == nil || !c.sees(was) {
			return noPod(id)
		}
		d.VersionInfo = was.Spec.VersionInfo
		if d.Role == "" {
			d.Role = was.Spec.Role
		}
		return nil
	})
}

// putPod writes a pod, and answers with it.
func (c *call) putPod(d *marathon.Definition, code int, may func(*state) error) (any, error) {
	made, err := c.change(func(st *state) error {
		if err := may(st); err != nil {
			return err
		}
		st.want[d.ID] = d
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.look()
	a, err := c.findPod(d.ID)
	if err != nil {
		return nil, err
	}
	return answer{code: code, body: a.Spec.ShowPod(), deployment: made.DeploymentID, location: "/v2/pods" + d.ID}, nil
}

func deletePods(c *call) (any, error) {
	id, part := c.podTarget()
	a, err := c.findPod(id)
	if err != nil {
		return nil, err
	}
	word, rest, _ := strings.Cut(part, "/")
	switch {
	case word == "":
		made, err := c.change(func(st *state) error {
			if st.apps[id] == nil {
				return noPod(id)
			}
			delete(st.want, id)
			return nil
		})
		return answer{code: http.StatusAccepted, deployment: made.DeploymentID, location: "/v2/deployments/" + made.DeploymentID}, err
	case word != "instances":
		return nil, failure{http.StatusMethodNotAllowed, message{Message: "HTTP 405 Method Not Allowed"}}
	}
	names := []string{rest}
	if rest == "" {
		b, err := c.read()
		if err != nil {
			return nil, err
		}
		if json.Unmarshal(b, &names) != nil {
			return nil, failure{http.StatusBadRequest, message{Message: marathon.ErrJSON.Error()}}
		}
	}
	return c.killInstances(a, names, rest != "")
}

// killInstances ends instances of a pod, and answers with how they stood: one, or a list.
func (c *call) killInstances(a *marathon.App, names []string, one bool) (any, error) {
	var chosen []task
	out := []podInstance{}
	for _, t := range c.tasksOf(a) {
		if slices.ContainsFunc(names, func(id string) bool { return means(id, t) }) {
			chosen, out = append(chosen, t), append(out, c.podInstance(a, t))
		}
	}
	if one && len(out) == 0 {
		return nil, missing("instance '%s' not found", names[0])
	}
	if err := c.kill(chosen); err != nil {
		return nil, err
	}
	if one {
		return out[0], nil
	}
	return out, nil
}
