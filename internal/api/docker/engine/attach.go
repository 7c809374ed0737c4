package engine

import (
	"context"
	"fmt"
	"io"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"trireme/internal/api/docker/remote"
	"trireme/internal/api/docker/stream"
	"trireme/internal/api/docker/view"
	"trireme/internal/kind"
)

var attachRoutes = map[string]handler{"POST /containers/{id}/attach": attachContainer, "POST /containers/{id}/resize": resizeContainer}

// resizeContainer sets the size of the terminals that are attached: one that nobody is
// attached to has no size that anybody sees.
func resizeContainer(c *call) (any, error) {
	size, err := c.size()
	if err != nil {
		return nil, err
	}
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	c.door.attached.Resize(one.ID, size)
	return Answer{200, nil}, nil
}

// attachContainer gives a client a container's streams: at once, or when it is started.
// What it wrote before anybody could be attached comes from its log.
func attachContainer(c *call) (any, error) {
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if !c.flag("stream") && !c.flag("logs") {
		return nil, kind.New(kind.Malformed, "stream or logs has to be asked for")
	}
	state := one.State()
	s := stream.New(c.Out, c.Request.Request, one.Spec.TTY)
	defer s.Close()
	s.Wanted = c.outputs()
	defer c.door.attached.Join(one.ID, s)()
	stdin := io.Reader(nil)
	if c.flag("stdin") && one.Spec.Stdin {
		stdin = s
		if s.TTY {
			if stdin, err = s.Detachable(c.FormValue("detachKeys")); err != nil {
				return nil, err
			}
		}
	}
	if err := s.Open(); err != nil {
		return nil, err
	}
	c.door.tell(one, events.ActionAttach, nil)
	a := &attachment{c: c, s: s, stdin: stdin}
	if state != container.StateRunning { // its first words are wanted too
		err = a.fromTheBeginning(one)
	} else {
		if c.flag("logs") {
			c.copyLog(s.Context, &s.Frames, source{pod: one.Pod, container: one.Spec.Name}, &corev1.PodLogOptions{})
		}
		if c.flag("stream") {
			err = a.live(s.Context, one, true)
		}
	}
	if err != nil && s.Context.Err() == nil {
		s.Send(2, []byte(err.Error()+"\n"))
	}
	return Streamed, nil
}

// attachment is one client's.
type attachment struct {
	c     *call
	s     *stream.Session
	stdin io.Reader // nil: none

	opened bool // it was attached
}

// fromTheBeginning waits for the start. A terminal is attached to as soon as it is there,
// after the lines that it has shown already; the outputs of others come from the log,
// which holds all of them and tells them apart.
func (a *attachment) fromTheBeginning(one *view.Container) error {
	var begun *view.Container
	ended := one.State() == container.StateExited // and is started again
	at := *a.c
	at.Request.Request = a.c.WithContext(a.s.Context)
	err := at.watch(one, func(now *view.Container) (bool, error) {
		if now == nil || now.Begun() && (!ended || now.Pod.UID != one.Pod.UID) {
			begun = now
			return true, nil
		}
		return false, nil
	})
	if err != nil || begun == nil || begun.Pod.Spec.NodeName == "" {
		return err
	}
	src := source{pod: begun.Pod, container: begun.Spec.Name}
	if a.s.TTY {
		return a.terminal(begun, src)
	}
	ctx, cancel := context.WithCancel(a.s.Context)
	defer cancel()
	if a.stdin != nil && begun.State() == container.StateRunning {
		go func() {
			_ = a.live(ctx, begun, false) // the container has ended, or takes no more
		}()
	}
	a.c.copyLog(ctx, &a.s.Frames, src, &corev1.PodLogOptions{Follow: true})
	return nil
}

// terminal shows what a terminal has shown, and attaches to it. One that has ended
// meanwhile has all of it in its log.
func (a *attachment) terminal(one *view.Container, src source) error {
	a.c.copyLog(a.s.Context, &a.s.Frames, src, &corev1.PodLogOptions{})
	var err error
	if one.State() == container.StateRunning {
		if err = a.live(a.s.Context, one, true); a.opened {
			return err
		}
	}
	a.s.Skip = a.s.Copied
	a.c.copyLog(a.s.Context, &a.s.Frames, src, &corev1.PodLogOptions{})
	now := a.c.door.again(a.c.door.store.Snapshot(), one)
	if now != nil && now.State() == container.StateRunning {
		return err
	}
	return nil
}

// live attaches to what runs: to all that was asked for, or to the input alone.
func (a *attachment) live(ctx context.Context, one *view.Container, outputs bool) error {
	o := remote.Options{Stdin: a.stdin, TTY: a.s.TTY, Open: func() error {
		a.opened = true
		return nil
	}}
	if outputs && a.s.Wanted[1] {
		o.Stdout = a.s.Stream(1)
	}
	if outputs && a.s.Wanted[2] && !a.s.TTY {
		o.Stderr = a.s.Stream(2)
	}
	if o.Stdin == nil && o.Stdout == nil && o.Stderr == nil {
		o.Stdout = io.Discard
	}
	if a.s.TTY {
		o.Sizes = a.s.Terminal
		o.Stdout = a.s.Stream(1)
	}
	c := a.c
	to := c.Typed.CoreV1().RESTClient().Post().Resource("pods").Namespace(one.Pod.Namespace).Name(one.Pod.Name).SubResource("attach").
		VersionedParams(&corev1.PodAttachOptions{
			Container: one.Spec.Name, TTY: o.TTY, Stdin: o.Stdin != nil, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil,
		}, scheme.ParameterCodec).URL()
	_, err := remote.Stream(ctx, c.Config, to, o)
	return err
}

// size reads the size of a terminal off a request.
func (c *call) size() (s remotecommand.TerminalSize, err error) {
	for name, at := range map[string]*uint16{"h": &s.Height, "w": &s.Width} {
		var n uint16
		if _, err := fmt.Sscanf(c.FormValue(name), "%d", &n); err != nil {
			return s, kind.New(kind.Malformed, "invalid %s %q: it is a number of characters", name, c.FormValue(name))
		}
		*at = n
	}
	return s, nil
}
