package docker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	wire "github.com/moby/moby/api/types"

	"trireme/internal/kind"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

// lineMax is the longest line that is sent in one piece, in bytes.
const lineMax = 64 << 10

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

// logOptions reads what of a log is asked for.
func (c *call) logOptions() (*corev1.PodLogOptions, error) {
	if !c.flag("stdout") && !c.flag("stderr") {
		return nil, kind.New(kind.Malformed, "Bad parameters: you must choose at least one stream: give stdout=1 or stderr=1")
	}
	o := &corev1.PodLogOptions{Container: ours.ContainerName, Follow: c.flag("follow"), Timestamps: c.flag("timestamps")}
	if tail := c.FormValue("tail"); tail != "" && tail != "all" {
		n, err := strconv.ParseInt(tail, 10, 64)
		if err != nil || n < 0 {
			return nil, kind.New(kind.Malformed, "invalid tail %q: it is a number of lines, or all", tail)
		}
		o.TailLines = &n
	}
	if since := c.FormValue("since"); since != "" && since != "0" {
		seconds, err := strconv.ParseFloat(since, 64)
		if err != nil {
			return nil, kind.New(kind.Malformed, "invalid since %q: it is a time in seconds of Unix", since)
		}
		at := metav1.NewTime(time.UnixMilli(int64(seconds * 1000)))
		o.SinceTime = &at
	}
	return o, nil
}

// logs begins the answer with logs of a service's tasks, line by line as they come.
func (c *call) logs(s *ours.Service) (*lines, error) {
	o, err := c.logOptions()
	if err != nil {
		return nil, err
	}
	w := &lines{
		c: c, o: o, out: c.out, raw: s.Spec.TaskTemplate.ContainerSpec != nil && s.Spec.TaskTemplate.ContainerSpec.TTY,
		want: map[byte]bool{1: c.flag("stdout"), 2: c.flag("stderr")}, nodes: c.nodeIDs(), seen: map[types.UID]bool{},
	}
	if c.flag("details") {
		w.details = "com.docker.swarm.node.id=%s,com.docker.swarm.service.id=" + ours.ID(s.UID) + ",com.docker.swarm.task.id=%s "
	}
	media := wire.MediaTypeMultiplexedStream
	if w.raw {
		media = wire.MediaTypeRawStream
	}
	c.out.Header().Set("Content-Type", media)
	c.out.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(c.out).Flush() // the first write says it again
	return w, nil
}

// lines sends lines of many logs as one stream of frames (Docker Engine API, "Stream
// format").
type lines struct {
	c       *call
	o       *corev1.PodLogOptions
	raw     bool
	want    map[byte]bool // which outputs
	details string        // before each line, for the node and the task; may be empty
	nodes   map[string]string
	seen    map[types.UID]bool // the pods whose logs are on their way
	all     sync.WaitGroup

	mu  sync.Mutex
	out http.ResponseWriter
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
			w.send(2, fmt.Appendf(nil, "%serror from the node of this task: %v\n", details, err))
		}
		return
	}
	defer body.Close()
	in := bufio.NewReaderSize(body, lineMax)
	output, begins := byte(1), true
	for {
		line, err := in.ReadSlice('\n')
		if begins && len(line) >= len(originOf1) {
			output, line = line[0]-'0', line[len(originOf1):]
		}
		if len(line) > 0 {
			if w.want[output] {
				w.send(output, w.line(line, details, w.o.Timestamps && begins, begins))
			}
			begins = line[len(line)-1] == '\n'
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return // its end, or the reader's
		}
	}
}

// originOf1 is what is before a line of the first output where lines say their origin.
const originOf1 = "1 "

// line puts the details where docker's clients look for them: before the text, after the
// time.
func (w *lines) line(line []byte, details string, timed, begins bool) []byte {
	if !begins || details == "" {
		return append([]byte(nil), line...)
	}
	text := string(line)
	if at, rest, ok := strings.Cut(text, " "); timed && ok {
		return []byte(at + " " + details + rest)
	}
	return []byte(details + text)
}

func (w *lines) send(stream byte, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.raw {
		header := [8]byte{0: stream}
		binary.BigEndian.PutUint32(header[4:], uint32(len(b)))
		b = append(header[:], b...)
	}
	_, _ = w.out.Write(b) // a reader that has gone ends the request
	_ = http.NewResponseController(w.out).Flush()
}
