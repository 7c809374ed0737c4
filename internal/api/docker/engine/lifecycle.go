package engine

import (
	"cmp"
	"context"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"trireme/internal/api/docker/bare"
	"trireme/internal/api/docker/remote"
	"trireme/internal/api/docker/view"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/tables"
)

var lifecycleRoutes = map[string]handler{
	"POST /containers/{id}/stop": stopContainer, "POST /containers/{id}/kill": killContainer, "DELETE /containers/{id}": removeContainer,
	"POST /containers/{id}/rename": renameContainer, "POST /containers/{id}/update": updateContainer, "POST /containers/prune": pruneContainers,
	"POST /containers/{id}/pause": noPause, "POST /containers/{id}/unpause": noPause,
}

// containerName is what containers may be called (moby, names.RestrictedNamePattern).
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// stopGrace is how long a container has to end that does not say (docker stop), and
// graceMax what "for ever" is.
const (
	stopGrace = 10
	graceMax  = 24 * 60 * 60
)

// within returns the call with less time.
func (c *call) within(d time.Duration) (*call, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(c.Context(), d)
	next := *c
	next.Request.Request = c.WithContext(ctx)
	return &next, cancel
}

// grace returns how many seconds a container has to end.
func (c *call) grace(one *view.Container) (int64, error) {
	text := c.FormValue("t")
	if text == "" {
		if one.Request != nil && one.Request.Config.StopTimeout != nil {
			text = strconv.Itoa(*one.Request.Config.StopTimeout)
		} else {
			return stopGrace, nil
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, kind.New(kind.Malformed, "invalid t %q: it is a number of seconds", text)
	}
	if n < 0 {
		return graceMax, nil
	}
	return min(n, graceMax), nil
}

func stopContainer(c *call) (any, error) {
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	grace, err := c.grace(one)
	if err != nil {
		return nil, err
	}
	if one.State() == container.StateExited || one.State() == container.StateCreated {
		return Answer{http.StatusNotModified, nil}, nil
	}
	if err := c.stop(one, grace); err != nil {
		return nil, err
	}
	c.door.tell(one, events.ActionStop, nil)
	return Answer{http.StatusNoContent, nil}, nil
}

// stop ends the container. One of docker run stays, ended; another's pod goes, and who
// made it makes another.
func (c *call) stop(one *view.Container, grace int64) error {
	if one.Request == nil {
		return c.remove(one, grace)
	}
	if one.Pod.Spec.RestartPolicy != corev1.RestartPolicyNever { // or its node would start it again
		if err := c.patch(one, types.MergePatchType, map[string]any{"spec": map[string]any{"activeDeadlineSeconds": 1}}); err != nil {
			return err
		}
	}
	if one.State() == container.StateRunning {
		path := []string{"stop", one.Pod.Namespace, one.Pod.Name, one.Spec.Name}
		err := c.Typed.CoreV1().RESTClient().Post().Resource("nodes").Name(one.Pod.Spec.NodeName).SubResource("proxy").Suffix(path...).
			Param("seconds", strconv.FormatInt(grace, 10)).Do(c.Context()).Error()
		if apierrors.IsForbidden(err) { // who may change pods may end them all the same, in the pod's own time
			err = c.patch(one, types.MergePatchType, map[string]any{"spec": map[string]any{"activeDeadlineSeconds": 1}})
		}
		if err != nil {
			return FromKubernetes(err)
		}
	}
	return c.watch(one, func(now *view.Container) (bool, error) {
		return now == nil || now.State() == container.StateExited, nil
	})
}

// remove deletes the container's pod, and returns when it has gone.
func (c *call) remove(one *view.Container, grace int64) error {
	if n := len(one.Pod.Spec.InitContainers) + len(one.Pod.Spec.Containers); n > 1 {
		return kind.New(kind.Unsupported, "container %s is one of %d of pod %s/%s: delete the pod with kubectl", one.Name, n, one.Pod.Namespace, one.Pod.Name)
	}
	err := c.Typed.CoreV1().Pods(one.Pod.Namespace).Delete(c.Context(), one.Pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(max(grace, 1)), Preconditions: metav1.NewUIDPreconditions(string(one.Pod.UID)), // 0 would forget what still runs
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return FromKubernetes(err)
	}
	for {
		snap := c.door.store.Snapshot()
		if now := c.door.again(snap, one); now == nil || now.Pod.UID != one.Pod.UID {
			return nil
		}
		if err := c.changed(snap.TableRev(tables.Pods), object.KeyOf(one.Pod)); err != nil {
			return err
		}
	}
}

func killContainer(c *call) (any, error) {
	one, err := c.runningContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	signal := strings.TrimPrefix(strings.ToUpper(cmp.Or(c.FormValue("signal"), "KILL")), "SIG")
	if signal == "KILL" || signal == "9" {
		err = c.stop(one, 0)
	} else {
		err = c.signal(one, signal)
	}
	if err != nil {
		return nil, err
	}
	c.door.tell(one, events.ActionKill, map[string]string{"signal": signal})
	return Answer{http.StatusNoContent, nil}, nil
}

// signal sends to the container's first process, by the image's own program.
func (c *call) signal(one *view.Container, signal string) error {
	code, said, err := c.runIn(one, []string{"kill", "-" + signal, "1"})
	switch {
	case err != nil:
		return kind.New(kind.Invalid, "sending %s: the image's own kill is what does it: %v", signal, err)
	case code != 0:
		return kind.New(kind.Malformed, "Invalid signal: %s: %s", signal, strings.TrimSpace(said.String()))
	}
	return nil
}

// spoken keeps what a command says, up to a bound.
type spoken struct{ strings.Builder }

// spokenMax bounds what is kept of a command's output, in bytes.
const spokenMax = 1 << 20

// Write implements io.Writer.
func (s *spoken) Write(b []byte) (int, error) {
	s.Builder.Write(b[:min(len(b), spokenMax-s.Len())])
	return len(b), nil
}

// runIn runs a command in a container and returns what it said on both outputs.
func (c *call) runIn(one *view.Container, command []string) (code int, said *spoken, err error) {
	said = &spoken{}
	code, err = c.runWith(one, command, remote.Options{Stdout: said, Stderr: said})
	return code, said, err
}

func (c *call) runWith(one *view.Container, command []string, o remote.Options) (code int, err error) {
	to := c.Typed.CoreV1().RESTClient().Post().Resource("pods").Namespace(one.Pod.Namespace).Name(one.Pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: one.Spec.Name, Command: command, TTY: o.TTY, Stdin: o.Stdin != nil, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil,
		}, scheme.ParameterCodec).URL()
	code, err = remote.Stream(c.Context(), c.Config, to, o)
	return code, FromKubernetes(err)
}

func removeContainer(c *call) (any, error) {
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if c.flag("link") {
		return nil, kind.New(kind.Unsupported, "link: there are no links here: containers of one network know each other by name")
	}
	if state := one.State(); !c.flag("force") && (state == container.StateRunning || state == container.StateRestarting) {
		return nil, kind.New(kind.Exists, "cannot remove container %q: container is running: stop the container before removing or force remove", "/"+one.Name)
	}
	if err := c.remove(one, 0); err != nil {
		return nil, err
	}
	return Answer{http.StatusNoContent, nil}, nil
}

// renameContainer changes what clients of docker call it: the pod's name stays.
func renameContainer(c *call) (any, error) {
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(c.FormValue("name"), "/")
	if one.Request == nil {
		return nil, kind.New(kind.Unsupported, "container %s is not of docker run: its name says what it is of", one.Name)
	}
	if err := c.freeName(name); err != nil {
		return nil, err
	}
	if err := c.patch(one, types.MergePatchType, map[string]any{"metadata": map[string]any{"annotations": map[string]any{bare.NameAnnotation: name}}}); err != nil {
		return nil, err
	}
	c.door.tell(one, events.ActionRename, map[string]string{"oldName": "/" + one.Name, "name": name})
	return Answer{http.StatusNoContent, nil}, nil
}

// updateContainer changes the limits of a container that runs.
func updateContainer(c *call) (any, error) {
	var asked container.UpdateConfig
	if err := c.read(&asked); err != nil {
		return nil, err
	}
	one, err := c.runningContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if err := bare.Updatable(&asked); err != nil {
		return nil, kind.New(kind.Malformed, "%v", err)
	}
	limits := bare.Limits(&asked.Resources)
	if len(limits) == 0 {
		return container.UpdateResponse{Warnings: []string{}}, nil
	}
	resize := map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": one.Spec.Name, "resources": map[string]any{"limits": limits}}}}}
	if err := c.patch(one, types.StrategicMergePatchType, resize, "resize"); err != nil {
		return nil, err
	}
	return container.UpdateResponse{Warnings: []string{}}, nil
}

// pruneContainers removes those of docker run that have ended: what others keep is theirs.
func pruneContainers(c *call) (any, error) {
	f, err := c.filters("label", "label!", "until")
	if err != nil {
		return nil, err
	}
	before := time.Now()
	for _, v := range f.Set["until"] {
		d, err := time.ParseDuration(v)
		if err != nil {
			return nil, kind.New(kind.Malformed, "invalid filter 'until=%s': it is a time span, as in 24h", v)
		}
		before = before.Add(-d)
	}
	out := container.PruneReport{ContainersDeleted: []string{}}
	for one := range c.containers() {
		if one.Request == nil || one.State() != container.StateExited || !one.Pod.CreationTimestamp.Time.Before(before) ||
			!f.Labels("label", one.Labels()) || len(f.Set["label!"]) > 0 && f.Labels("label!", one.Labels()) {
			continue
		}
		if err := c.remove(one, 0); err != nil {
			return nil, err
		}
		out.ContainersDeleted = append(out.ContainersDeleted, one.ID)
	}
	return out, nil
}

// noPause says what is there instead: what holds a pod's containers does not freeze them.
func noPause(c *call) (any, error) {
	return nil, kind.New(kind.Unsupported, "containers are not frozen here: docker stop ends one, docker service scale SERVICE=0 a service's")
}
