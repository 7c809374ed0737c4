package mesos

import (
	"context"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/stream"
	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/agent"
	"trireme/internal/object"
	"trireme/internal/object/sandbox"
)

// The right to reach into containers.
var intoPods = Right{Verb: "create", Subresource: "exec"}

// target is the container of a pod that an id means.
type target struct {
	pod  *corev1.Pod
	spec *corev1.Container
	c    stream.Container
}

// path writes an id with those that it is in, outermost first.
func idPath(id *mesosv1.ContainerID) string {
	if id.GetParent() == nil {
		return id.GetValue()
	}
	return idPath(id.GetParent()) + "/" + id.GetValue()
}

// target finds the container that an id names: a pod's UID is its first, within a pod the last
// part is the name of one.
func (r *request) target(id *mesosv1.ContainerID) (*target, error) {
	parts := strings.Split(idPath(id), "/")
	for _, p := range r.s.cfg.Pods.Pods() {
		if _, ok, err := sandbox.PlaceOf(p); string(p.UID) != parts[0] || !ok || err != nil || len(p.Spec.Containers) == 0 {
			continue
		}
		right := intoPods
		right.Namespace = p.Namespace
		if err := r.must(right); err != nil {
			return nil, err
		}
		t := &target{pod: p, spec: &p.Spec.Containers[0]}
		for i := range p.Spec.Containers {
			if len(parts) > 1 && p.Spec.Containers[i].Name == parts[1] {
				t.spec = &p.Spec.Containers[i]
			}
		}
		c, err := r.s.cfg.Pods.Container(object.KeyOf(p), t.spec.Name)
		if err != nil {
			return nil, err
		}
		if !c.Running {
			return nil, kind.New(kind.Invalid, "Container %s is not running", idPath(id))
		}
		t.c = c
		return t, nil
	}
	right := intoPods
	if err := r.must(right); err != nil {
		return nil, err
	}
	return nil, kind.New(kind.NotFound, "Container %s cannot be found (or is already killed)", idPath(id))
}

// launch is what all calls that start a command in a container ask for.
type launch struct {
	id  *mesosv1.ContainerID
	cmd *mesosv1.CommandInfo
	in  *mesosv1.ContainerInfo
}

// start starts a command in the container that its id's parent names.
func (r *request) start(l launch) (*process, error) {
	if l.id.GetParent() == nil {
		return nil, kind.New(kind.Invalid, "container_id.parent: is missing: standalone containers are pods here: kubectl run")
	}
	if err := sandbox.CheckID("container_id.value", l.id.GetValue()); err != nil {
		return nil, kind.New(kind.Invalid, "%w", err)
	}
	t, err := r.target(l.id.GetParent())
	if err != nil {
		return nil, err
	}
	if l.in.GetMesos().GetImage() != nil || l.in.GetDocker() != nil {
		return nil, kind.New(kind.Invalid, "container: a nested container has its parent's file system: leave the image out")
	}
	words := commandIn(t, l.cmd)
	if len(words) == 0 {
		return nil, kind.New(kind.Invalid, "command.value: is missing")
	}
	return r.s.begin(idPath(l.id), t, words, l.in.GetTtyInfo() != nil)
}

// commandIn returns the words that run a command in a container: where it is on the node's root,
// its program enters that first. Variables and the user are the container's.
func commandIn(t *target, cmd *mesosv1.CommandInfo) []string {
	if cmd == nil || cmd.GetValue() == "" {
		return nil
	}
	what := sandbox.Command{Shell: cmd.GetShell(), Value: cmd.GetValue(), Args: cmd.GetArguments(), User: cmd.GetUser()}
	var env []string
	for _, v := range cmd.GetEnvironment().GetVariables() {
		env = append(env, v.GetName()+"="+v.GetValue())
	}
	return sandbox.Within(t.pod, t.spec, what, env)
}

func launchNested(r *request, c *agent.Call) (*agent.Response, error) {
	l := launch{c.GetLaunchNestedContainer().GetContainerId(), c.GetLaunchNestedContainer().GetCommand(), c.GetLaunchNestedContainer().GetContainer()}
	if c.GetType() == agent.Call_LAUNCH_CONTAINER {
		l = launch{c.GetLaunchContainer().GetContainerId(), c.GetLaunchContainer().GetCommand(), c.GetLaunchContainer().GetContainer()}
	}
	p, err := r.start(l)
	if err != nil {
		return nil, err
	}
	p.closeInput() // nobody has attached to it
	return nil, nil
}

// process returns the command of a nested container's id, if whoever asks may reach into its
// parent.
func (r *request) process(id *mesosv1.ContainerID) (*process, error) {
	r.s.mu.Lock()
	p := r.s.nested[idPath(id)]
	r.s.mu.Unlock()
	right := intoPods
	if p != nil {
		right.Namespace = p.namespace
	}
	if err := r.must(right); err != nil {
		return nil, err
	}
	if p == nil {
		return nil, kind.New(kind.NotFound, "Container %s cannot be found", idPath(id))
	}
	return p, nil
}

func waitNested(r *request, c *agent.Call) (*agent.Response, error) {
	id, out := c.GetWaitNestedContainer().GetContainerId(), &agent.Response{Type: agent.Response_WAIT_NESTED_CONTAINER.Enum()}
	if c.GetType() == agent.Call_WAIT_CONTAINER {
		id, out.Type = c.GetWaitContainer().GetContainerId(), agent.Response_WAIT_CONTAINER.Enum()
	}
	p, err := r.process(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if p.code >= 0 {
		status := int32(p.code) << 8 // as wait(2) has it
		out.WaitNestedContainer, out.WaitContainer = &agent.Response_WaitNestedContainer{ExitStatus: &status}, &agent.Response_WaitContainer{ExitStatus: &status}
	} else {
		out.WaitNestedContainer, out.WaitContainer = &agent.Response_WaitNestedContainer{Message: proto.String(p.fault)}, &agent.Response_WaitContainer{Message: proto.String(p.fault)}
	}
	if out.GetType() == agent.Response_WAIT_CONTAINER {
		out.WaitNestedContainer = nil
	} else {
		out.WaitContainer = nil
	}
	return out, nil
}

// killGrace is how long a container that is killed by its own id has to end.
const killGrace = 3 * time.Second

func killNested(r *request, c *agent.Call) (*agent.Response, error) {
	id := c.GetKillNestedContainer().GetContainerId()
	if c.GetType() == agent.Call_KILL_CONTAINER {
		id = c.GetKillContainer().GetContainerId()
	}
	if p, err := r.process(id); err == nil {
		p.end()
		return nil, nil
	}
	t, err := r.target(id)
	if err != nil {
		return nil, err
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 10*killGrace)
		defer cancel()
		if err := r.s.cfg.Stop(ctx, t.c.ID, killGrace); err != nil {
			r.s.cfg.Log.Warn("killing a container", "pod", object.KeyOf(t.pod).String(), "err", err)
		}
	}()
	return nil, nil
}

func removeNested(r *request, c *agent.Call) (*agent.Response, error) {
	id := c.GetRemoveNestedContainer().GetContainerId()
	if c.GetType() == agent.Call_REMOVE_CONTAINER {
		id = c.GetRemoveContainer().GetContainerId()
	}
	p, err := r.process(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
	default:
		return nil, kind.New(kind.Conflict, "Container %s runs: kill it first", idPath(id))
	}
	r.s.mu.Lock()
	delete(r.s.nested, idPath(id))
	r.s.mu.Unlock()
	return nil, nil
}

// output begins the stream of what a container writes.
func (r *request) output() (*codec.Stream, error) {
	if !codec.Accepts(r.Header, "Accept", codec.RecordIO) {
		return nil, codec.Refuse(http.StatusNotAcceptable, "Expecting 'Accept' to allow %s", codec.RecordIO)
	}
	media, err := codec.Accept(r.Header, "Message-Accept")
	if err != nil {
		return nil, err
	}
	return codec.OpenRecordIO(r.w, media, patience)
}

// patience is how long a client may take to read a record.
const patience = time.Minute

// session runs a command for as long as its client listens.
func session(r *request, c *agent.Call) error {
	l := c.GetLaunchNestedContainerSession()
	p, err := r.start(launch{l.GetContainerId(), l.GetCommand(), l.GetContainer()})
	if err != nil {
		return err
	}
	defer p.end()
	return r.follow(p)
}

// follow streams what a command writes until it has ended.
func (r *request) follow(p *process) error {
	out, err := r.output()
	if err != nil {
		return err
	}
	read, leave := p.listen()
	defer leave()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case chunk, ok := <-read:
			if !ok {
				return nil
			}
			err = out.Send(chunk)
		case <-beat.C:
			err = out.Send(heartbeat())
		case <-r.Context().Done():
			return nil
		}
		if err != nil {
			return nil // the client is gone
		}
	}
}

// beatEvery is between heartbeats of streams of output.
const beatEvery = 30 * time.Second

func heartbeat() *agent.ProcessIO {
	return &agent.ProcessIO{Type: agent.ProcessIO_CONTROL.Enum(), Control: &agent.ProcessIO_Control{
		Type: agent.ProcessIO_Control_HEARTBEAT.Enum(), Heartbeat: &agent.ProcessIO_Control_Heartbeat{Interval: &mesosv1.DurationInfo{Nanoseconds: proto.Int64(int64(beatEvery))}},
	}}
}

// attachOutput streams what a container writes from now on, or a command in one.
func attachOutput(r *request, c *agent.Call) error {
	id := c.GetAttachContainerOutput().GetContainerId()
	if p, err := r.process(id); err == nil {
		return r.follow(p)
	}
	t, err := r.target(id)
	if err != nil {
		return err
	}
	p, err := r.s.attach(r.Context(), t, false)
	if err != nil {
		return err
	}
	defer p.end()
	return r.follow(p)
}

// attachInput takes calls as records: the first names the container, the others are what it
// reads and how large its terminal is.
func (r *request) attachInput() error {
	media, err := codec.ContentType(r.Header.Get("Message-Content-Type"))
	if err != nil {
		return codec.Refuse(http.StatusUnsupportedMediaType, "Expecting 'Message-Content-Type' to be application/json or application/x-protobuf")
	}
	records := codec.NewReader(r.Body, callMax)
	first, err := nextInput(records, media)
	if err != nil {
		return err
	}
	if first.GetType() != agent.Call_AttachContainerInput_CONTAINER_ID || first.ContainerId == nil {
		return codec.Refuse(http.StatusBadRequest, "Expecting 'attach_container_input.type' to be CONTAINER_ID")
	}
	p, err := r.process(first.GetContainerId())
	if err != nil {
		t, err := r.target(first.GetContainerId())
		if err != nil {
			return err
		}
		if !t.c.Stdin {
			return kind.New(kind.Invalid, "container %s has no input: launch it with tty_info", idPath(first.GetContainerId()))
		}
		if p, err = r.s.attach(r.Context(), t, true); err != nil {
			return err
		}
		defer p.end()
	}
	for {
		in, err := nextInput(records, media)
		if err == errEnd {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.feed(in.GetProcessIo()); err != nil {
			return nil // it has ended
		}
	}
}

var errEnd = kind.New(kind.Malformed, "Received EOF")

// nextInput reads the next call; errEnd: there is none.
func nextInput(records *codec.Reader, media codec.Media) (*agent.Call_AttachContainerInput, error) {
	b, err := records.Next()
	if err != nil {
		return nil, errEnd // however it ended, nothing more comes
	}
	c := &agent.Call{}
	if err := media.Parse(b, c); err != nil {
		return nil, err
	}
	if c.GetType() != agent.Call_ATTACH_CONTAINER_INPUT || c.AttachContainerInput == nil {
		return nil, codec.Refuse(http.StatusBadRequest, "Expecting 'attach_container_input' to be present")
	}
	return c.GetAttachContainerInput(), nil
}
