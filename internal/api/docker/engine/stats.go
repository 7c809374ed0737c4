package engine

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"trireme/internal/api/docker/view"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/tables"
)

var statsRoutes = map[string]handler{"GET /containers/{id}/stats": containerStats, "GET /containers/{id}/top": topContainer}

// statsEvery is how often a stream of statistics has a new one.
const statsEvery = time.Second

// asked is a node's summary, and whose right to it was checked.
type asked struct {
	conf *rest.Config
	node string
}

// summary is what a node said last: many streams of its containers ask at the same time.
type summary struct {
	at  time.Time
	sum *stats.Summary
}

// summary asks the node what its pods use; what it said less than half a period ago is
// taken for now.
func (c *call) summary(node string) (*stats.Summary, time.Time, error) {
	key := asked{c.Config, node}
	c.door.summariesMu.Lock()
	last, ok := c.door.summaries[key]
	c.door.summariesMu.Unlock()
	if ok && time.Since(last.at) < statsEvery/2 {
		return last.sum, last.at, nil
	}
	b, err := c.Typed.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("stats", "summary").DoRaw(c.Context())
	if err != nil {
		return nil, time.Time{}, FromKubernetes(err)
	}
	now := summary{at: time.Now(), sum: &stats.Summary{}}
	if err := json.Unmarshal(b, now.sum); err != nil {
		return nil, time.Time{}, kind.New(kind.Internal, "reading what node %s uses: %v", node, err)
	}
	c.door.summariesMu.Lock()
	defer c.door.summariesMu.Unlock()
	for k, old := range c.door.summaries {
		if now.at.Sub(old.at) > time.Minute {
			delete(c.door.summaries, k)
		}
	}
	c.door.summaries[key] = now
	return now.sum, now.at, nil
}

// containerStats sends what the container uses: once, or every second until it ends.
func containerStats(c *call) (any, error) {
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	stream := c.FormValue("stream") == "" || c.flag("stream")
	if one.State() != container.StateRunning {
		return container.StatsResponse{ID: one.ID, Name: "/" + one.Name, OSType: "linux"}, nil // as docker has it
	}
	last, err := c.usage(one, nil)
	if err != nil {
		return nil, err
	}
	if !stream && (c.flag("one-shot") || !last.PreRead.IsZero()) {
		return last, nil
	}
	c.Out.Header().Set("Content-Type", "application/json")
	out, flush := json.NewEncoder(c.Out), http.NewResponseController(c.Out).Flush
	tick := time.NewTicker(statsEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		if stream || !first {
			if out.Encode(last) != nil || flush() != nil {
				return Streamed, nil
			}
		}
		if !stream && !first {
			return Streamed, nil
		}
		select {
		case <-tick.C:
		case <-c.Context().Done():
			return Streamed, nil
		}
		p, ok := tables.Pods.Get(c.door.store.Snapshot(), object.KeyOf(one.Pod))
		if !ok || p.UID != one.Pod.UID || p.Status.Phase != corev1.PodRunning {
			return Streamed, nil
		}
		if last, err = c.usage(one, last); err != nil {
			return Streamed, nil // its node has gone
		}
	}
}

// usage asks the container's node.
func (c *call) usage(one *view.Container, last *container.StatsResponse) (*container.StatsResponse, error) {
	sum, at, err := c.summary(one.Pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	n, ok := tables.Nodes.Get(c.Snap, object.Key{Name: one.Pod.Spec.NodeName})
	if !ok {
		return nil, kind.New(kind.Unavailable, "node %s has gone", one.Pod.Spec.NodeName)
	}
	return one.Usage(sum, at, n, last), nil
}

// topContainer lists processes by the image's own ps.
func topContainer(c *call) (any, error) {
	one, err := c.runningContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	args := strings.Fields(c.FormValue("ps_args"))
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	code, said, err := c.runIn(one, append([]string{"ps"}, args...))
	if err == nil && code != 0 && c.FormValue("ps_args") == "" { // busybox knows no options
		code, said, err = c.runIn(one, []string{"ps"})
	}
	switch {
	case err != nil:
		return nil, kind.New(kind.Unsupported, "the image of %s has no ps, which is what lists its processes: %v", one.Name, err)
	case code != 0:
		return nil, kind.New(kind.Malformed, "ps %s, of the image's own: %s", strings.Join(args, " "), strings.TrimSpace(said.String()))
	}
	return view.Processes(said.String()), nil
}
