package engine

import (
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/api/docker/bare"
	"trireme/internal/api/docker/view"
	"trireme/internal/kind"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/store"
	"trireme/internal/tables"
)

var containerRoutes = map[string]handler{
	"GET /containers/json": listContainers, "GET /containers/{id}/json": inspectContainer, "GET /containers/{id}/logs": containerLogs,
}

// services returns the swarm services by their UID.
func (c *call) services() map[types.UID]*ours.Service {
	all := map[types.UID]*ours.Service{}
	for s := range tables.Swarms(c.Snap, "") {
		all[s.UID] = s
	}
	return all
}

// Containers yields the containers of all pods.
func (s *Server) Containers(r Request) iter.Seq[*view.Container] { return (&call{r, s}).containers() }

// containers yields the containers of all pods.
func (c *call) containers() iter.Seq[*view.Container] {
	services, nodes := c.services(), NodeIDs(c.All)
	return func(yield func(*view.Container) bool) {
		for row := range tables.Pods.Rows(c.Snap, "") {
			h := row.Head()
			if h.UnderReview {
				continue
			}
			p := row.Object()
			for _, one := range view.Of(p, viewTask(services[h.Owner], p, nodes)) {
				if !yield(&one) {
					return
				}
			}
		}
	}
}

// viewTask returns what is known of a pod as a task; nil: it is none.
func viewTask(s *ours.Service, p *corev1.Pod, nodes map[string]string) *view.Task {
	if s == nil {
		return nil
	}
	t := &view.Task{ID: ours.ID(p.UID), NodeID: nodes[p.Spec.NodeName], ServiceID: ours.ID(s.UID), ServiceName: s.Spec.Name}
	t.Name = s.Spec.Name + "." + p.Labels[ours.SlotLabel] + "." + t.ID
	if spec := s.Spec.TaskTemplate.ContainerSpec; spec != nil {
		t.Labels = spec.Labels
	}
	return t
}

// findContainer returns the container of an id, a name, or the beginning of an id.
func (c *call) findContainer(ref string) (*view.Container, error) {
	var begins []*view.Container
	for one := range c.containers() {
		whole, prefix := one.Is(ref)
		if whole {
			return one, nil
		}
		if prefix {
			begins = append(begins, one)
		}
	}
	switch len(begins) {
	case 0:
		return nil, kind.New(kind.NotFound, "No such container: %s", ref)
	case 1:
		return begins[0], nil
	}
	return nil, kind.New(kind.Malformed, "container %s is ambiguous: the ids of %d begin with it", ref, len(begins))
}

// runningContainer is findContainer of one that runs.
func (c *call) runningContainer(ref string) (*view.Container, error) {
	one, err := c.findContainer(ref)
	if err == nil && one.State() != container.StateRunning {
		return nil, kind.New(kind.Exists, "container %s is not running", ref) // 409, as docker has it
	}
	return one, err
}

func listContainers(c *call) (any, error) {
	f, err := c.filters("ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network", "publish", "since", "status", "volume")
	if err != nil {
		return nil, err
	}
	limit := 0
	if text := c.FormValue("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil {
			return nil, kind.New(kind.Malformed, "invalid limit %q: it is a number", text)
		}
	}
	fits, err := c.containerFilter(f)
	if err != nil {
		return nil, err
	}
	all := c.flag("all") || limit > 0 || len(f.Set["status"])+len(f.Set["exited"]) > 0
	out, now := []container.Summary{}, time.Now()
	for one := range c.containers() {
		if !all && one.State() != container.StateRunning {
			continue
		}
		if s := one.Summary(now); fits(one, &s) {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b container.Summary) int { return int(b.Created - a.Created) })
	if limit > 0 {
		out = out[:min(limit, len(out))]
	}
	return out, nil
}

// containerFilter returns what the filters let through.
func (c *call) containerFilter(f filters) (func(*view.Container, *container.Summary) bool, error) {
	names := make([]*regexp.Regexp, 0, len(f.Set["name"]))
	for _, v := range f.Set["name"] {
		re, err := regexp.Compile(v)
		if err != nil {
			return nil, kind.New(kind.Malformed, "invalid filter name: %v", err)
		}
		names = append(names, re)
	}
	for _, v := range f.Set["status"] {
		if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
			return nil, kind.New(kind.Malformed, "invalid filter 'status=%s': %v", v, err)
		}
	}
	var since, before time.Time
	for name, at := range map[string]*time.Time{"since": &since, "before": &before} {
		for _, ref := range f.Set[name] {
			other, err := c.findContainer(ref)
			if err != nil {
				return nil, err
			}
			*at = other.Pod.CreationTimestamp.Time
		}
	}
	return func(one *view.Container, s *container.Summary) bool {
		made := one.Pod.CreationTimestamp.Time
		named := len(names) == 0 || slices.ContainsFunc(names, func(re *regexp.Regexp) bool { return re.MatchString(one.Name) || re.MatchString("/"+one.Name) })
		return named && f.Prefix("id", s.ID) && f.Labels("label", s.Labels) && f.Equal("status", string(s.State)) && f.Equal("health", string(one.Health(time.Now()))) &&
			f.Equal("is-task", strconv.FormatBool(one.Task != nil)) && (since.IsZero() || made.After(since)) && (before.IsZero() || made.Before(before)) &&
			f.Any("exited", func(v string) bool { return s.State == container.StateExited && v == strconv.Itoa(one.ExitCode()) }) &&
			f.Any("ancestor", func(v string) bool { return sameImage(v, s.Image) || v == s.ImageID }) &&
			f.Any("network", func(v string) bool { return slices.Contains(slices.Collect(maps.Keys(s.NetworkSettings.Networks)), v) }) &&
			f.Any("volume", func(v string) bool {
				return slices.ContainsFunc(s.Mounts, func(m container.MountPoint) bool { return m.Name == v || m.Destination == v || m.Source == v })
			}) && f.port("publish", s, true) && f.port("expose", s, false)
	}, nil
}

// sameImage compares references as far as they are written; a tag that is not is latest.
func sameImage(a, b string) bool {
	whole := func(ref string) string {
		if strings.Contains(ref[strings.LastIndexByte(ref, '/')+1:], ":") {
			return ref
		}
		return ref + ":latest"
	}
	return whole(a) == whole(b)
}

// port reports whether one of the container's ports is a value of the name: PORT[/PROTOCOL].
func (f filters) port(name string, s *container.Summary, published bool) bool {
	return f.Any(name, func(v string) bool {
		want, err := network.ParsePort(v)
		return err == nil && slices.ContainsFunc(s.Ports, func(p container.PortSummary) bool {
			n := p.PrivatePort
			if published {
				n = p.PublicPort
			}
			return n == want.Num() && p.Type == string(want.Proto())
		})
	})
}

func inspectContainer(c *call) (any, error) {
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	out := one.Inspect(time.Now())
	out.ExecIDs = c.door.execs.Of(one.ID)
	return out, nil
}

// containerLogs sends the log of one container; of one that has not run there is none
// yet, and who follows it waits.
func containerLogs(c *call) (any, error) {
	one, err := c.findContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	from := []source{{pod: one.Pod, container: one.Spec.Name}}
	if !one.Begun() {
		if from = nil; c.flag("follow") {
			return nil, kind.New(kind.Exists, "container %s has not been started yet: docker start it, then follow its log", c.PathValue("id"))
		}
	}
	return c.logs(one.Spec.TTY, from)
}

// watch calls f with the container now and whenever its pod changes, until f says that
// it has seen enough; nil: it has gone.
func (c *call) watch(one *view.Container, f func(*view.Container) (done bool, err error)) error {
	at := object.KeyOf(one.Pod)
	for {
		snap := c.door.store.Snapshot()
		now := c.door.again(snap, one)
		if _, reviving := c.door.reviving.Load(one.ID); now == nil && reviving {
			now = one // as it was: its next pod is about to be made
		}
		if done, err := f(now); done || err != nil {
			return err
		}
		if err := c.changed(snap.TableRev(tables.Pods), at); err != nil {
			return err
		}
	}
}

// again returns the container as it is in the snapshot; nil: it has gone.
func (s *Server) again(snap *store.Snapshot, one *view.Container) *view.Container {
	p, ok := tables.Pods.Get(snap, object.KeyOf(one.Pod))
	if !ok || p.UID != one.Pod.UID && (one.Request == nil || p.Annotations[bare.IDAnnotation] != one.ID) {
		return nil
	}
	all := view.Of(p, one.Task)
	if i := slices.IndexFunc(all, func(o view.Container) bool { return o.Spec.Name == one.Spec.Name }); i >= 0 {
		return &all[i]
	}
	return nil
}

// changed returns when the pod has changed since the revision, or might have.
func (c *call) changed(since store.Rev, at object.Key) error {
	for e, err := range c.door.store.Events(c.Context(), since, tables.Pods) {
		if kind.Is(err, kind.Gone) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.Key() == at {
			return nil
		}
	}
	return c.Context().Err()
}
