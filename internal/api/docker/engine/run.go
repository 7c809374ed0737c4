package engine

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/api/docker/bare"
	"trireme/internal/api/docker/execs"
	"trireme/internal/api/docker/view"
	"trireme/internal/kind"
	"trireme/internal/tables"
)

var runRoutes = map[string]handler{
	"POST /containers/create": createContainer, "POST /containers/{id}/start": startContainer, "POST /containers/{id}/restart": restartContainer,
	"POST /containers/{id}/wait": waitContainer,
}

// createContainer makes a bare pod that a gate holds until it is started.
func createContainer(c *call) (any, error) {
	req := &container.CreateRequest{}
	if err := c.read(req); err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(c.FormValue("name"), "/")
	if name == "" {
		name = "container-" + execs.NewID()[:8]
	}
	if err := c.freeName(name); err != nil {
		return nil, err
	}
	p, err := c.pod(execs.NewID(), name, req)
	if err != nil {
		return nil, err
	}
	made, err := c.Typed.CoreV1().Pods(p.Namespace).Create(c.Context(), p, metav1.CreateOptions{FieldManager: "docker"})
	if apierrors.IsAlreadyExists(err) {
		return nil, conflict(name, p.Namespace+"/"+p.Name)
	}
	if err != nil {
		return nil, FromKubernetes(err)
	}
	return Answer{http.StatusCreated, container.CreateResponse{ID: made.Annotations[bare.IDAnnotation], Warnings: []string{}}}, nil
}

// pod returns the pod of a container.
func (c *call) pod(id, name string, req *container.CreateRequest) (*corev1.Pod, error) {
	p, err := bare.Container{ID: id, Name: name, CreateRequest: req, Network: c.Network, Volume: tables.SwarmVolumeSpec(c.All), Exposed: c.Exposed}.Pod()
	if err != nil && kind.Of(err) == kind.Internal {
		err = kind.New(kind.Malformed, "%v", err)
	}
	return p, err
}

// freeName refuses a name that a container has.
func (c *call) freeName(name string) error {
	if !containerName.MatchString(name) {
		return kind.New(kind.Malformed, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	for one := range c.containers() {
		if one.Name == name {
			return conflict(name, one.ID)
		}
	}
	return nil
}

func conflict(name, by string) error {
	return kind.New(kind.Exists, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, by)
}

// patience is how long a start waits for a node.
const patience = 30 * time.Second

// startContainer takes the gate away and returns when the container has been started, or
// says why it is not.
func startContainer(c *call) (any, error) {
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if one.Request == nil {
		if one.State() == container.StateRunning {
			return Answer{http.StatusNotModified, nil}, nil
		}
		return nil, kind.New(kind.Unsupported, "container %s is not of docker run: the cluster starts it", one.Name)
	}
	switch one.State() {
	case container.StateRunning:
		return Answer{http.StatusNotModified, nil}, nil
	case container.StateExited:
		return Answer{http.StatusNoContent, nil}, c.revive(one)
	}
	gates := slices.DeleteFunc(slices.Clone(one.Pod.Spec.SchedulingGates), func(g corev1.PodSchedulingGate) bool { return g.Name == bare.Gate })
	if err := c.patch(one, types.MergePatchType, map[string]any{"spec": map[string]any{"schedulingGates": gates}}); err != nil {
		return nil, err
	}
	if err := c.started(one); err != nil {
		c.door.attached.End(one.ID)
		if one.Request.HostConfig.AutoRemove {
			return nil, errors.Join(err, c.remove(one, 0))
		}
		return nil, err
	}
	return Answer{http.StatusNoContent, nil}, nil
}

// patch merges into the container's pod.
func (c *call) patch(one *view.Container, how types.PatchType, with map[string]any, subresource ...string) error {
	b, err := json.Marshal(with)
	if err != nil {
		return err
	}
	_, err = c.Typed.CoreV1().Pods(one.Pod.Namespace).Patch(c.Context(), one.Pod.Name, how, b, metav1.PatchOptions{FieldManager: "docker"}, subresource...)
	return FromKubernetes(err)
}

// started waits until the container has begun. A node is waited for a while only, an
// image that cannot be had not at all.
func (c *call) started(one *view.Container) error {
	ctx, cancel := c.within(patience)
	defer cancel()
	trouble, placed := "", false
	err := ctx.watch(one, func(now *view.Container) (bool, error) {
		if now == nil {
			return true, kind.New(kind.NotFound, "container %s has been removed", one.Name)
		}
		if placed = now.Pod.Spec.NodeName != ""; placed {
			return true, nil
		}
		trouble = now.Trouble()
		return now.Begun(), nil
	})
	if !placed && c.Context().Err() == nil && ctx.Context().Err() != nil {
		return kind.New(kind.Unavailable, "container %s waits for a node, and starts when there is one: %s", one.Name, trouble)
	}
	if err != nil {
		return err
	}
	return c.watch(one, func(now *view.Container) (bool, error) {
		switch {
		case now == nil:
			return true, kind.New(kind.NotFound, "container %s has been removed", one.Name)
		case now.Begun():
			return true, nil
		}
		if w := now.Status.State.Waiting; w != nil && slices.Contains([]string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"}, w.Reason) {
			return true, kind.New(kind.Invalid, "container %s cannot be started: %s: %s", one.Name, w.Reason, w.Message)
		}
		return false, nil
	})
}

// revive makes the pod of a container that has ended anew, under its id. What it wrote
// besides its volumes has gone.
func (c *call) revive(one *view.Container) error {
	p, err := c.pod(one.ID, one.Name, one.Request)
	if err != nil {
		return err
	}
	c.door.reviving.Store(one.ID, true)
	defer c.door.reviving.Delete(one.ID)
	if err := c.remove(one, 0); err != nil {
		return err
	}
	p.Name, p.Spec.SchedulingGates = one.Pod.Name, nil
	made, err := c.Typed.CoreV1().Pods(p.Namespace).Create(c.Context(), p, metav1.CreateOptions{FieldManager: "docker"})
	if err != nil {
		return FromKubernetes(err)
	}
	next := view.Of(made, nil)[0]
	return c.started(&next)
}

// restartContainer stops a container and starts it anew. One that is not of docker run is
// replaced by who made it.
func restartContainer(c *call) (any, error) {
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	grace, err := c.grace(one)
	if err != nil {
		return nil, err
	}
	if one.State() == container.StateRunning {
		if err := c.stop(one, grace); err != nil {
			return nil, err
		}
	}
	if one.Request == nil {
		return Answer{http.StatusNoContent, nil}, nil
	}
	return Answer{http.StatusNoContent, nil}, c.revive(one)
}

// waitContainer answers when the container has come to an end. The answer's head is sent
// at once: clients start a container when they have it.
func waitContainer(c *call) (any, error) {
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	condition := container.WaitCondition(c.FormValue("condition"))
	switch condition {
	case "", container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return nil, kind.New(kind.Malformed, "invalid condition: %q: it is not-running, next-exit or removed", condition)
	}
	c.Out.Header().Set("Content-Type", "application/json")
	c.Out.WriteHeader(http.StatusOK)
	if err := http.NewResponseController(c.Out).Flush(); err != nil {
		return Streamed, nil
	}
	var said container.WaitResponse
	before, ran := one.Ended(), one.State() == container.StateExited
	err = c.watch(one, func(now *view.Container) (bool, error) {
		if now == nil {
			return true, nil
		}
		end, state := now.Ended(), now.State()
		if end != nil || state == container.StateExited {
			said.StatusCode = int64(now.ExitCode())
		}
		switch condition {
		case container.WaitConditionRemoved:
			return false, nil
		case container.WaitConditionNextExit:
			fresh := end != nil && (before == nil || end.ContainerID != before.ContainerID)
			return fresh || state == container.StateExited && !ran, nil
		}
		return state != container.StateRunning && state != container.StateRestarting, nil
	})
	if err != nil {
		if errors.Is(err, c.Context().Err()) {
			return Streamed, nil
		}
		said.Error = &container.WaitExitError{Message: err.Error()}
	}
	_ = json.NewEncoder(c.Out).Encode(said) // the client has gone
	return Streamed, nil
}
