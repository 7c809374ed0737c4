package engine

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"trireme/internal/api/docker/execs"
	"trireme/internal/api/docker/remote"
	"trireme/internal/api/docker/stream"
	"trireme/internal/kind"
)

var execRoutes = map[string]handler{
	"POST /containers/{id}/exec": createExec, "POST /exec/{id}/start": startExec, "POST /exec/{id}/resize": resizeExec, "GET /exec/{id}/json": inspectExec,
}

func createExec(c *call) (any, error) {
	x := &execs.Exec{ID: execs.NewID()}
	if err := c.read(&x.Want); err != nil {
		return nil, err
	}
	var err error
	if x.In, err = c.runningContainer(c.PathValue("id")); err != nil {
		return nil, err
	}
	switch w := &x.Want; {
	case len(w.Cmd) == 0:
		return nil, kind.New(kind.Malformed, "Cmd: No exec command specified")
	case w.Privileged:
		return nil, kind.New(kind.Unsupported, "Privileged: a command has the rights of its container: run the container with --privileged")
	}
	if size := x.Want.ConsoleSize; size != nil {
		x.Resize(remotecommand.TerminalSize{Height: uint16(size[0]), Width: uint16(size[1])})
	}
	if err := c.door.execs.Add(x); err != nil {
		return nil, err
	}
	c.door.tell(x.In, events.Action("exec_create: "+strings.Join(x.Want.Cmd, " ")), map[string]string{"execID": x.ID})
	return Answer{http.StatusCreated, container.ExecCreateResponse{ID: x.ID}}, nil
}

func startExec(c *call) (any, error) {
	var req container.ExecStartRequest
	if err := c.read(&req); err != nil {
		return nil, err
	}
	x, err := c.door.execs.Find(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if !x.Begin() {
		return nil, kind.New(kind.Exists, "Error: Exec command %s is already running, or has run", x.ID)
	}
	if size := req.ConsoleSize; size != nil {
		x.Resize(remotecommand.TerminalSize{Height: uint16(size[0]), Width: uint16(size[1])})
	}
	if req.Detach {
		err := c.door.background(c.Context(), func(ctx context.Context) {
			_ = c.runExec(ctx, x, remote.Options{Stdout: io.Discard, Stderr: io.Discard}) // its code is kept
		})
		return Answer{http.StatusOK, nil}, err
	}
	s := stream.New(c.Out, c.Request.Request, x.Want.Tty)
	defer s.Close()
	o := remote.Options{TTY: x.Want.Tty, Open: s.Open}
	if x.Want.AttachStdin {
		o.Stdin = s
		if x.Want.Tty {
			if o.Stdin, err = s.Detachable(x.Want.DetachKeys); err != nil {
				x.Finish(-1)
				return nil, err
			}
		}
	}
	o.Stdout, o.Stderr = io.Discard, io.Discard
	if x.Want.AttachStdout {
		o.Stdout = s.Stream(1)
	}
	if x.Want.AttachStderr {
		o.Stderr = s.Stream(2)
	}
	err = c.runExec(s.Context, x, o)
	if !s.Opened() {
		return nil, cmp.Or(err, s.Context.Err())
	}
	if err != nil && s.Context.Err() == nil {
		s.Send(2, []byte(err.Error()+"\n"))
	}
	return Streamed, nil
}

// Exit codes of commands that were not run (docker exec).
const (
	notRunCode   = 126
	notFoundCode = 127
)

// runExec runs the command to its end, of which the exit code is kept. An error is why it
// was not run, in the cluster's words.
func (c *call) runExec(ctx context.Context, x *execs.Exec, o remote.Options) error {
	if o.TTY {
		o.Sizes, o.Stderr = x.Terminal(ctx), nil
	}
	words := strings.Join(x.Want.Cmd, " ")
	open := o.Open
	o.Open = func() error {
		c.door.tell(x.In, events.Action("exec_start: "+words), map[string]string{"execID": x.ID})
		if open == nil {
			return nil
		}
		return open()
	}
	to := c.Typed.CoreV1().RESTClient().Post().Resource("pods").Namespace(x.In.Pod.Namespace).Name(x.In.Pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: x.In.Spec.Name, Command: x.Command(), TTY: o.TTY, Stdin: o.Stdin != nil, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil,
		}, scheme.ParameterCodec).URL()
	code, err := remote.Stream(ctx, c.Config, to, o)
	if err != nil {
		code = notRunCode
		if text := err.Error(); strings.Contains(text, "executable file not found") || strings.Contains(text, "no such file or directory") {
			code = notFoundCode
		}
		err = FromKubernetes(err)
	}
	x.Finish(code)
	c.door.tell(x.In, events.ActionExecDie, map[string]string{"execID": x.ID, "exitCode": itoa(code)})
	return err
}

func resizeExec(c *call) (any, error) {
	size, err := c.size()
	if err != nil {
		return nil, err
	}
	x, err := c.door.execs.Find(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	x.Resize(size)
	return Answer{http.StatusOK, nil}, nil
}

func inspectExec(c *call) (any, error) {
	x, err := c.door.execs.Find(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return x.Inspect(), nil
}
