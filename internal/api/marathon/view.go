package marathon

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/tables"
)

// embeds are what is told of an app beside its definition.
type embeds uint

const (
	embedTasks embeds = 1 << iota
	embedCounts
	embedDeployments
	embedFailure
	embedStats
	embedReadiness
)

const embedAll = embedTasks | embedCounts | embedDeployments | embedFailure

var embedWords = map[string]embeds{
	"tasks": embedTasks, "counts": embedCounts, "deployments": embedDeployments, "lastTaskFailure": embedFailure, "taskStats": embedStats,
	"readiness": embedReadiness, "failures": embedTasks | embedCounts | embedDeployments | embedFailure,
}

// view is what is shown of apps, and what they have in common.
type view struct {
	embeds
	locks map[string][]idOnly // deployments by the apps that they change
}

// newView reads what is to be embedded: words after a prefix, as apps.tasks, beside what is
// always there.
func newView(c *call, prefix string, always embeds) *view {
	v := &view{embeds: always, locks: map[string][]idOnly{}}
	for _, text := range c.query()["embed"] {
		for one := range strings.SplitSeq(text, ",") {
			if word, ok := strings.CutPrefix(strings.TrimSpace(one), prefix); ok {
				v.embeds |= embedWords[word]
			}
		}
	}
	for d := range tables.MarathonDeployments(c.snap) {
		if d.Status.State != "" {
			continue
		}
		for _, id := range d.Affected(false) {
			v.locks[id] = append(v.locks[id], idOnly{d.Name})
		}
	}
	return v
}

// app returns an app as Marathon shows it.
func (c *call) app(a *marathon.App, v *view) (map[string]any, error) {
	tree, err := marathon.Tree(a.Spec)
	if err != nil {
		return nil, err
	}
	out, ok := tree.(map[string]any)
	if !ok {
		return nil, noApp(a.Spec.ID)
	}
	tasks := c.tasksOf(a)
	if v.embeds&embedCounts != 0 {
		counts(out, tasks)
	}
	if v.embeds&embedDeployments != 0 {
		out["deployments"] = append([]idOnly{}, v.locks[a.Spec.ID]...)
	}
	if v.embeds&embedTasks != 0 {
		out["tasks"] = tasks
	}
	if v.embeds&embedFailure != 0 && a.Status.LastFailure != nil {
		out["lastTaskFailure"] = a.Status.LastFailure
	}
	if v.embeds&embedReadiness != 0 {
		out["readinessCheckResults"] = readiness(a, tasks)
	}
	if v.embeds&embedStats != 0 {
		out["taskStats"] = stats(a, tasks)
	}
	return out, nil
}

// readiness tells which tasks of the present version are ready.
func readiness(a *marathon.App, tasks []task) []any {
	out := []any{}
	if len(a.Spec.ReadinessChecks) == 0 {
		return out
	}
	for _, t := range tasks {
		if t.Version != a.Spec.Version {
			continue
		}
		is := false
		for _, s := range t.pod.Status.ContainerStatuses {
			is = is || s.Started != nil && *s.Started
		}
		out = append(out, map[string]any{"name": a.Spec.ReadinessChecks[0].Name, "taskId": t.ID, "ready": is})
	}
	return out
}

// counts tells how many tasks stand how.
func counts(out map[string]any, tasks []task) {
	n := tally{}
	for i := range tasks {
		n.add(&tasks[i])
	}
	out["tasksStaged"], out["tasksRunning"], out["tasksHealthy"], out["tasksUnhealthy"] = n.Staged, n.Running, n.Healthy, n.Unhealthy
}

// tally is how many tasks stand how, as the embed taskStats has it.
type tally struct {
	Staged    int `json:"staged"`
	Running   int `json:"running"`
	Healthy   int `json:"healthy"`
	Unhealthy int `json:"unhealthy"`
}

func (n *tally) add(t *task) {
	switch t.State {
	case "TASK_STAGING", "TASK_STARTING":
		n.Staged++
	case "TASK_RUNNING":
		n.Running++
	}
	for _, h := range t.HealthCheckResults {
		if h.Alive {
			n.Healthy++
		} else {
			n.Unhealthy++
		}
	}
}

// task is one as Marathon shows it.
type task struct {
	ID                 string         `json:"id"`
	AppID              string         `json:"appId"`
	Host               string         `json:"host"`
	SlaveID            string         `json:"slaveId"`
	State              string         `json:"state"`
	Ports              []int32        `json:"ports"`
	ServicePorts       []int32        `json:"servicePorts"`
	IPAddresses        []ipAddress    `json:"ipAddresses"`
	StagedAt           string         `json:"stagedAt,omitempty"`
	StartedAt          string         `json:"startedAt,omitempty"`
	Version            string         `json:"version"`
	LocalVolumes       []localVolume  `json:"localVolumes"`
	HealthCheckResults []healthResult `json:"healthCheckResults,omitempty"`
	Region             string         `json:"region,omitempty"`
	Zone               string         `json:"zone,omitempty"`
	Role               string         `json:"role"`

	pod *corev1.Pod
}

type ipAddress struct {
	Address  string `json:"ipAddress"`
	Protocol string `json:"protocol"`
}

type localVolume struct {
	RunSpecID     string `json:"runSpecId"`
	ContainerPath string `json:"containerPath"`
	UUID          string `json:"uuid"`
	PersistenceID string `json:"persistenceId"`
}

type healthResult struct {
	Alive               bool    `json:"alive"`
	ConsecutiveFailures int     `json:"consecutiveFailures"`
	FirstSuccess        *string `json:"firstSuccess,omitempty"`
	LastSuccess         *string `json:"lastSuccess,omitempty"`
	LastFailure         *string `json:"lastFailure,omitempty"`
	LastFailureCause    *string `json:"lastFailureCause,omitempty"`
	InstanceID          string  `json:"instanceId"`
	TaskID              string  `json:"taskId"`
}

// tasksOf returns the tasks of an app, the oldest first: its pods that have a node and have
// not ended.
func (c *call) tasksOf(a *marathon.App) []task {
	out := []task{}
	for row := range tables.Pods.By(c.snap, tables.OwnerIndex, string(a.UID)) {
		h := row.Head()
		if h.Owner != a.UID || h.Node == "" || h.Ended() || h.UnderReview {
			continue
		}
		out = append(out, c.task(a, row.Object()))
	}
	sortTasks(out)
	return out
}

// task returns a pod as a task of the app.
func (c *call) task(a *marathon.App, p *corev1.Pod) task {
	d := a.Spec
	version := p.Annotations[marathon.VersionAnnotation]
	for i := range a.Versions { // as it was when the pod was made
		if a.Versions[i].Version == version {
			d = a.Versions[i]
		}
	}
	t := task{
		ID: marathon.TaskID(d.ID, p.UID), AppID: d.ID, Host: p.Spec.NodeName, SlaveID: p.Spec.NodeName, Version: version, Role: d.Role,
		Ports: d.HostPorts(p), ServicePorts: []int32{}, IPAddresses: []ipAddress{}, LocalVolumes: []localVolume{}, pod: p,
	}
	away := false
	if n, ok := tables.Nodes.Get(c.door.store.Snapshot(), object.Key{Name: p.Spec.NodeName}); ok {
		t.Region, t.Zone = n.Labels[corev1.LabelTopologyRegion], n.Labels[corev1.LabelTopologyZone]
		away = !object.NodeReady(n)
		if agent, ok := tables.MesosAgent(c.door.store.Snapshot(), n.Name); ok && agent.Status.ID != "" {
			t.SlaveID = agent.Status.ID
		}
		for _, address := range n.Status.Addresses {
			if address.Type == corev1.NodeInternalIP && t.Host == p.Spec.NodeName {
				t.Host = address.Address
			}
		}
	}
	t.State = marathon.TaskState(p, away)
	for _, port := range d.Ports() {
		t.ServicePorts = append(t.ServicePorts, port.Service)
	}
	for _, ip := range p.Status.PodIPs {
		protocol := "IPv4"
		if strings.Contains(ip.IP, ":") {
			protocol = "IPv6"
		}
		t.IPAddresses = append(t.IPAddresses, ipAddress{ip.IP, protocol})
	}
	if cond := object.PodCondition(p, corev1.PodScheduled); cond != nil && cond.Status == corev1.ConditionTrue {
		t.StagedAt = marathon.Stamp(cond.LastTransitionTime.Time)
	}
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil {
			t.StartedAt = marathon.Stamp(s.State.Running.StartedAt.Time)
		}
	}
	if len(d.HealthChecks) > 0 {
		t.health(p)
	}
	t.volumes(&d, c.claims(a, &d, p))
	return t
}

// claims returns the UIDs of the claims of a task's volumes, by the volumes' names.
func (c *call) claims(a *marathon.App, d *marathon.Definition, p *corev1.Pod) map[string]string {
	out := map[string]string{}
	for _, v := range p.Spec.Volumes {
		if d.Persistent(v.Name) == nil || v.PersistentVolumeClaim == nil {
			continue
		}
		if claim, ok := tables.PersistentVolumeClaims.Get(c.snap, object.Key{Namespace: a.Namespace, Name: v.PersistentVolumeClaim.ClaimName}); ok {
			out[v.Name] = string(claim.UID)
		}
	}
	return out
}

// volumes tells of the volumes that outlive the task.
func (t *task) volumes(d *marathon.Definition, claims map[string]string) {
	if d.Container == nil {
		return
	}
	for i, v := range d.Container.Volumes {
		if uid := claims[marathon.VolumeName(i)]; uid != "" {
			t.LocalVolumes = append(t.LocalVolumes, localVolume{d.ID, v.ContainerPath, uid, d.ID + "#" + v.ContainerPath + "#" + uid})
		}
	}
}

// health tells how the task's health check stands: not at all before its first answer.
func (t *task) health(p *corev1.Pod) {
	ready := object.PodCondition(p, corev1.PodReady)
	if ready == nil || p.Status.Phase != corev1.PodRunning {
		return
	}
	started := false
	for _, s := range p.Status.ContainerStatuses {
		started = started || s.Started != nil && *s.Started
	}
	if !started && ready.Status != corev1.ConditionTrue {
		return
	}
	at := marathon.Stamp(ready.LastTransitionTime.Time)
	uid := p.UID
	r := healthResult{Alive: ready.Status == corev1.ConditionTrue, InstanceID: marathon.InstanceID(t.AppID, uid), TaskID: t.ID}
	if r.Alive {
		r.FirstSuccess, r.LastSuccess = &at, &at
	} else {
		r.ConsecutiveFailures, r.LastFailure, r.LastFailureCause = 1, &at, &ready.Message
	}
	t.HealthCheckResults = []healthResult{r}
}

// lifeTime sums up how long tasks have run.
func lifeTime(lives []time.Duration) map[string]float64 {
	slices.Sort(lives)
	sum := time.Duration(0)
	for _, d := range lives {
		sum += d
	}
	middle := len(lives) / 2
	median := lives[middle]
	if len(lives)%2 == 0 {
		median = (lives[middle-1] + median) / 2
	}
	return map[string]float64{"averageSeconds": (sum / time.Duration(len(lives))).Seconds(), "medianSeconds": median.Seconds()}
}

// stats sums up tasks, as the embed taskStats wants it.
func stats(a *marathon.App, tasks []task) map[string]any {
	with := func(chosen func(task) bool) map[string]any {
		n, lives := tally{}, []time.Duration(nil)
		now := time.Now()
		for i := range tasks {
			if !chosen(tasks[i]) {
				continue
			}
			n.add(&tasks[i])
			if at, err := marathon.ParseStamp(tasks[i].StartedAt); err == nil {
				lives = append(lives, now.Sub(at))
			}
		}
		out := map[string]any{"counts": n}
		if len(lives) > 0 {
			out["lifeTime"] = lifeTime(lives)
		}
		return map[string]any{"stats": out}
	}
	out := map[string]any{"totalSummary": with(func(task) bool { return true })}
	latest := func(t task) bool { return t.Version == a.Spec.Version }
	out["withLatestConfig"] = with(latest)
	out["withOutdatedConfig"] = with(func(t task) bool { return !latest(t) })
	return out
}
