package docker

import (
	"fmt"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	wire "github.com/moby/moby/api/types"

	"trireme/internal/api/docker/engine"
	"trireme/internal/api/docker/stream"
	"trireme/internal/kind"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

// serviceLogs sends the logs of all tasks of a service; where they are followed, also of
// those that come later.
func serviceLogs(c *call) (any, error) {
	s, err := c.findService(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	w, err := c.logs(s)
	if err != nil {
		return nil, err
	}
	if w.o.Follow {
		err := c.door.store.FollowFrom(c.Context(), c.snap, tables.Pods.Any(), func(key object.Key) error {
			if row, ok := tables.Pods.Row(c.door.store.Snapshot(), key); ok && row.Head().Owner == s.UID && !row.Head().UnderReview {
				w.add(row.Object())
			}
			return nil
		})
		w.all.Wait()
		if c.Context().Err() == nil {
			c.door.cfg.Log.Warn("following a service's logs", "object", s.Spec.Name, "err", err)
		}
		return streamed, nil
	}
	for row := range tables.Pods.By(c.snap, tables.OwnerIndex, string(s.UID)) {
		if h := row.Head(); h.Owner == s.UID && !h.UnderReview {
			w.add(row.Object())
		}
	}
	w.all.Wait()
	return streamed, nil
}

// taskLogs sends the log of one task.
func taskLogs(c *call) (any, error) {
	s, p, err := c.findTask(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if p.Spec.NodeName == "" {
		return nil, kind.New(kind.Unavailable, "task %s has no node yet, and no log", c.PathValue("id"))
	}
	w, err := c.logs(s)
	if err != nil {
		return nil, err
	}
	w.copy(p)
	return streamed, nil
}

// logs begins the answer with logs of a service's tasks, line by line as they come.
func (c *call) logs(s *ours.Service) (*lines, error) {
	o, err := engine.LogOptions(c.Request)
	if err != nil {
		return nil, err
	}
	o.Container = ours.ContainerName
	w := &lines{
		c: c, o: o, nodes: c.nodeIDs(), seen: map[types.UID]bool{},
		Frames: stream.Frames{
			Out: c.out, Flush: http.NewResponseController(c.out).Flush, Raw: s.Spec.TaskTemplate.ContainerSpec != nil && s.Spec.TaskTemplate.ContainerSpec.TTY,
			Stop: func() {}, Wanted: [3]bool{1: c.flag("stdout"), 2: c.flag("stderr")}, // a reader that has gone ends the request
		},
	}
	if c.flag("details") {
		w.details = "com.docker.swarm.node.id=%s,com.docker.swarm.service.id=" + ours.ID(s.UID) + ",com.docker.swarm.task.id=%s "
	}
	media := wire.MediaTypeMultiplexedStream
	if w.Raw {
		media = wire.MediaTypeRawStream
	}
	c.out.Header().Set("Content-Type", media)
	c.out.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(c.out).Flush() // the first write says it again
	return w, nil
}

// lines sends lines of many logs as one stream of frames.
type lines struct {
	c       *call
	o       *corev1.PodLogOptions
	details string // before each line, for the node and the task; may be empty
	nodes   map[string]string
	seen    map[types.UID]bool // the pods whose logs are on their way
	all     sync.WaitGroup
	stream.Frames
}

// add sends the log of a pod beside the others', once, if it has one.
func (w *lines) add(p *corev1.Pod) {
	if w.seen[p.UID] || len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].ContainerID == "" {
		return
	}
	w.seen[p.UID] = true
	w.all.Go(func() { w.copy(p) })
}

// copy sends a pod's log; what went wrong is a line of it on the second output.
func (w *lines) copy(p *corev1.Pod) {
	details := w.details
	if details != "" {
		node, ok := w.nodes[p.Spec.NodeName]
		if !ok { // it joined later
			if n, found := tables.Nodes.Get(w.c.door.store.Snapshot(), object.Key{Name: p.Spec.NodeName}); found {
				node = ours.ID(n.UID)
			}
		}
		details = fmt.Sprintf(details, node, ours.ID(p.UID))
	}
	body, err := w.c.typed().CoreV1().Pods(p.Namespace).GetLogs(p.Name, w.o).Param("origin", "true").Stream(w.c.Context())
	if err != nil {
		if w.c.Context().Err() == nil {
			w.Send(2, fmt.Appendf(nil, "%serror from the node of this task: %v\n", details, err))
		}
		return
	}
	defer body.Close()
	w.Copy(body, details, w.o.Timestamps)
}
