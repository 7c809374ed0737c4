package docker

import (
	"bufio"
	"context"
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

	"github.com/moby/moby/api/types"

	"trireme/internal/kind"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

// lineMax is the longest line that is sent in one piece, in bytes.
const lineMax = 64 << 10

// serviceLogs sends the logs of all tasks of a service.
func serviceLogs(c *call) (any, error) {
	s, err := c.findService(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for row := range tables.Pods.By(c.snap, tables.OwnerIndex, string(s.UID)) {
		if h := row.Head(); h.Owner == s.UID && !h.UnderReview && h.Node != "" {
			pods = append(pods, row.Object())
		}
	}
	return c.logs(s, pods)
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
	return c.logs(s, []*corev1.Pod{p})
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

// logs sends the logs of pods of a service, line by line as they come. Which of its two
// outputs a container wrote to is not told apart.
func (c *call) logs(s *ours.Service, pods []*corev1.Pod) (any, error) {
	o, err := c.logOptions()
	if err != nil {
		return nil, err
	}
	tty := s.Spec.TaskTemplate.ContainerSpec != nil && s.Spec.TaskTemplate.ContainerSpec.TTY
	media := types.MediaTypeMultiplexedStream
	if tty {
		media = types.MediaTypeRawStream
	}
	c.out.Header().Set("Content-Type", media)
	c.out.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(c.out).Flush() // the first write says it again
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	w := &lines{out: c.out, raw: tty, stop: cancel}
	nodes := c.nodeIDs()
	var all sync.WaitGroup
	for _, p := range pods {
		details := ""
		if c.flag("details") {
			details = fmt.Sprintf("com.docker.swarm.node.id=%s,com.docker.swarm.service.id=%s,com.docker.swarm.task.id=%s ",
				nodes[p.Spec.NodeName], ours.ID(s.UID), ours.ID(p.UID))
		}
		all.Go(func() { w.copy(ctx, c, p, o, details) })
	}
	all.Wait()
	return streamed, nil
}

// lines sends lines of many logs as one stream of frames (Docker Engine API, "Stream
// format").
type lines struct {
	mu   sync.Mutex
	out  http.ResponseWriter
	raw  bool
	stop func()
}

// copy sends a pod's log; what went wrong is a line of it on the second output.
func (w *lines) copy(ctx context.Context, c *call, p *corev1.Pod, o *corev1.PodLogOptions, details string) {
	body, err := c.typed().CoreV1().Pods(p.Namespace).GetLogs(p.Name, o).Stream(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.send(2, fmt.Appendf(nil, "%serror from the node of this task: %v\n", details, err))
		}
		return
	}
	defer body.Close()
	in := bufio.NewReaderSize(body, lineMax)
	begins := true
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			w.send(1, w.line(line, details, o.Timestamps && begins, begins))
			begins = line[len(line)-1] == '\n'
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return // its end, or the reader's
		}
	}
}

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
	if _, err := w.out.Write(b); err != nil {
		w.stop()
		return
	}
	if err := http.NewResponseController(w.out).Flush(); err != nil {
		w.stop()
	}
}
