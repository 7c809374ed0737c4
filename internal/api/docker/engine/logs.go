package engine

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/api/docker/query"
	"trireme/internal/api/docker/stream"
	"trireme/internal/kind"
)

// source is a container whose log is sent.
type source struct {
	pod       *corev1.Pod
	container string
}

// LogOptions reads what of a log is asked for.
func LogOptions(req *http.Request) (*corev1.PodLogOptions, error) {
	if !query.Flag(req, "stdout") && !query.Flag(req, "stderr") {
		return nil, kind.New(kind.Malformed, "Bad parameters: you must choose at least one stream: give stdout=1 or stderr=1")
	}
	if until := req.FormValue("until"); until != "" && until != "0" {
		return nil, kind.New(kind.Unsupported, "until: a log is sent to its end here: cut it where it is read")
	}
	o := &corev1.PodLogOptions{Follow: query.Flag(req, "follow"), Timestamps: query.Flag(req, "timestamps")}
	if tail := req.FormValue("tail"); tail != "" && tail != "all" {
		n, err := strconv.ParseInt(tail, 10, 64)
		if err != nil || n < 0 {
			return nil, kind.New(kind.Malformed, "invalid tail %q: it is a number of lines, or all", tail)
		}
		o.TailLines = &n
	}
	if since := req.FormValue("since"); since != "" && since != "0" {
		seconds, err := strconv.ParseFloat(since, 64)
		if err != nil {
			return nil, kind.New(kind.Malformed, "invalid since %q: it is a time in seconds of Unix", since)
		}
		at := metav1.NewTime(time.UnixMilli(int64(seconds * 1000)))
		o.SinceTime = &at
	}
	return o, nil
}

// logs sends logs, line by line as they come. That of a terminal has no frames.
func (c *call) logs(tty bool, from []source) (any, error) {
	o, err := LogOptions(c.Request.Request)
	if err != nil {
		return nil, err
	}
	media := types.MediaTypeMultiplexedStream
	if tty {
		media = types.MediaTypeRawStream
	}
	c.Out.Header().Set("Content-Type", media)
	c.Out.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(c.Out).Flush() // the first write says it again
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	w := &stream.Frames{Out: c.Out, Flush: http.NewResponseController(c.Out).Flush, Raw: tty, Stop: cancel, Wanted: c.outputs()}
	var all sync.WaitGroup
	for _, src := range from {
		all.Go(func() { c.copyLog(ctx, w, src, o) })
	}
	all.Wait()
	return Streamed, nil
}

// outputs returns which of a container's outputs are asked for.
func (c *call) outputs() [3]bool { return [3]bool{1: c.flag("stdout"), 2: c.flag("stderr")} }

// copyLog sends a log; what went wrong is a line of it on the second output.
func (c *call) copyLog(ctx context.Context, to *stream.Frames, src source, o *corev1.PodLogOptions) {
	one := *o
	one.Container = src.container
	body, err := c.Typed.CoreV1().Pods(src.pod.Namespace).GetLogs(src.pod.Name, &one).Param("origin", "true").Stream(ctx)
	if err != nil {
		if ctx.Err() == nil {
			to.Send(2, fmt.Appendf(nil, "error from the node of this container: %v\n", err))
		}
		return
	}
	defer body.Close()
	to.Copy(body, "", o.Timestamps)
}
