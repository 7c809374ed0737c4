package operator

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosres "trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/mesos"
)

// fields are JSON of the older endpoints.
type fields = map[string]any

// readRoutes are the older endpoints that show the tables.
func (s *Server) readRoutes() map[string]route {
	all := map[string]route{}
	for path, show := range map[string]func(*view, *http.Request) (any, error){
		"/state": showState, "/state.json": showState, "/state-summary": showSummary, "/slaves": showSlaves, "/frameworks": showFrameworks,
		"/tasks": showTasks, "/roles": showRoles, "/weights": showWeights, "/quota": showQuota,
		"/maintenance/schedule": showSchedule, "/maintenance/status": showStatus,
	} {
		all["GET "+path] = route{handle: func(r *Request) error {
			body, err := show(s.look(r), r.Request)
			if err != nil {
				return err
			}
			return r.json(body)
		}}
	}
	return all
}

// selfRoutes are those that a manager answers of itself.
func (s *Server) selfRoutes() map[string]route {
	return map[string]route{
		"GET /health": {anywhere: true, open: true, handle: func(r *Request) error {
			r.Out.WriteHeader(http.StatusOK)
			return nil
		}},
		"GET /version":          {anywhere: true, open: true, handle: func(r *Request) error { return r.json(s.version()) }},
		"GET /redirect":         {anywhere: true, open: true, handle: func(r *Request) error { return s.toLeader(r, "") }},
		"GET /flags":            {anywhere: true, handle: func(r *Request) error { return r.json(fields{"flags": s.cfg.Flags}) }},
		"GET /metrics/snapshot": {anywhere: true, handle: func(r *Request) error { return r.json(s.look(r).metrics()) }},
	}
}

func (s *Server) version() fields {
	return fields{"version": Version, "git_sha": "", "git_tag": s.cfg.Release, "build_user": "trireme", "build_date": "", "build_time": 0.0}
}

// hostPort is where clients reach a manager.
func hostPort(m *mesosv1.MasterInfo) string {
	host := cmp.Or(m.GetHostname(), m.GetAddress().GetHostname(), m.GetAddress().GetIp())
	return host + ":" + strconv.Itoa(int(m.GetPort()))
}

// json answers with body.
func (r *Request) json(body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return r.write("application/json", b)
}

func showState(v *view, _ *http.Request) (any, error) {
	state := v.head()
	for key, value := range v.slaves("") {
		state[key] = value
	}
	for key, value := range v.frameworkLists("") {
		state[key] = value
	}
	state["flags"], state["log_dir"] = v.cfg.Flags, ""
	state["orphan_tasks"], state["unregistered_frameworks"] = []any{}, []any{}
	return state, nil
}

// head is what the state says of the master.
func (v *view) head() fields {
	var active, inactive, unreachable int
	for _, a := range v.agents {
		switch {
		case a.Spec.Gone:
		case !a.reachable():
			unreachable++
		case a.active():
			active++
		default:
			inactive++
		}
	}
	out := fields{
		"version": Version, "git_sha": "", "git_tag": v.cfg.Release, "build_user": "trireme", "build_date": "", "build_time": 0.0,
		"start_time": seconds(v.cfg.Started), "elected_time": seconds(v.cfg.Elected()), "id": v.id,
		"activated_slaves": active, "deactivated_slaves": inactive, "unreachable_slaves": unreachable, "cluster": v.cfg.Flags["cluster"], "capabilities": []string{},
	}
	if leader := v.cfg.Leader(); leader != nil {
		out["pid"], out["leader"], out["hostname"] = leader.GetPid(), leader.GetPid(), leader.GetHostname()
		out["leader_info"] = fields{"id": leader.GetId(), "pid": leader.GetPid(), "port": leader.GetPort(), "hostname": leader.GetHostname()}
		names := []string{}
		for _, c := range leader.GetCapabilities() {
			names = append(names, c.GetType().String())
		}
		out["capabilities"] = names
	}
	return out
}

func showSlaves(v *view, r *http.Request) (any, error) { return v.slaves(r.FormValue("slave_id")), nil }

// slaves are the agents that are there, or the one of the id, and those that a leader
// knows only by name: none here.
func (v *view) slaves(id string) fields {
	list := []any{}
	for _, a := range v.agents {
		if a.reachable() && (id == "" || id == a.Status.ID) {
			list = append(list, a.slave())
		}
	}
	return fields{"slaves": list, "recovered_slaves": []any{}}
}

func (a *agent) slave() fields {
	info := a.info()
	reserved := fields{}
	full := fields{}
	byRole := map[string]mesosres.List{}
	for _, r := range a.total {
		if r.Reserved() {
			byRole[r.Role()] = byRole[r.Role()].Plus(mesosres.List{r})
		}
	}
	for role, l := range byRole {
		reserved[role], full[role] = flat(l), raws(l.Messages(true))
	}
	out := fields{
		"id": a.Status.ID, "hostname": a.Name, "port": mesos.AgentPort, "pid": a.pid(), "attributes": attributes(info.Attributes),
		"registered_time": unix(a.Status.Registered), "resources": flat(a.total), "used_resources": flat(a.used), "offered_resources": flat(a.offered),
		"reserved_resources": reserved, "unreserved_resources": flat(a.total.Unreserved()), "reserved_resources_full": full,
		"unreserved_resources_full": raws(a.total.Unreserved().Messages(true)), "used_resources_full": raws(a.used.Messages(true)), "offered_resources_full": raws(a.offered.Messages(true)),
		"active": a.active(), "deactivated": a.Spec.Deactivated || a.Spec.Down, "version": Version, "capabilities": capabilityNames(),
	}
	if a.Status.Reregistered != nil {
		out["reregistered_time"] = unix(a.Status.Reregistered)
	}
	if d := a.drain(); d != nil {
		out["drain_info"] = raw(d)
	}
	if info.Domain != nil {
		out["domain"] = raw(info.Domain)
	}
	return out
}

func capabilityNames() (names []string) {
	for _, c := range agentCapabilities() {
		names = append(names, c.GetType().String())
	}
	return names
}

func showFrameworks(v *view, r *http.Request) (any, error) {
	lists := v.frameworkLists(r.FormValue("framework_id"))
	lists["unregistered_frameworks"] = []any{}
	return lists, nil
}

func (v *view) frameworkLists(id string) fields {
	live, completed := []any{}, []any{}
	for _, f := range v.frameworks {
		switch {
		case id != "" && id != f.Spec.ID:
		case f.Status.Removed != nil:
			completed = append(completed, v.legacyFramework(f))
		default:
			live = append(live, v.legacyFramework(f))
		}
	}
	return fields{"frameworks": live, "completed_frameworks": completed}
}

// legacyHead is what every endpoint says of a framework.
func (f *framework) legacyHead() fields {
	info := f.Spec.Info.M
	capabilities := []string{}
	for _, c := range info.GetCapabilities() {
		capabilities = append(capabilities, c.GetType().String())
	}
	return fields{
		"id": f.Spec.ID, "name": info.GetName(), "used_resources": flat(f.used), "offered_resources": flat(f.offered), "capabilities": capabilities,
		"hostname": info.GetHostname(), "webui_url": info.GetWebuiUrl(), "active": f.Active(), "connected": f.Status.Connected, "recovered": false,
	}
}

func (v *view) legacyFramework(f *framework) fields {
	info := f.Spec.Info.M
	out := f.legacyHead()
	out["user"], out["failover_timeout"], out["checkpoint"] = info.GetUser(), info.GetFailoverTimeout(), info.GetCheckpoint()
	out["registered_time"], out["unregistered_time"] = unix(f.Status.Registered), unix(f.Status.Removed)
	out["resources"] = flat(f.used.Plus(f.offered))
	if f.Status.Reregistered != nil {
		out["reregistered_time"] = unix(f.Status.Reregistered)
	}
	if info.GetPrincipal() != "" {
		out["principal"] = info.GetPrincipal()
	}
	if f.Has(mesosv1.FrameworkInfo_Capability_MULTI_ROLE) {
		out["roles"] = append([]string{}, info.GetRoles()...)
	} else {
		out["role"] = info.GetRole()
	}
	if info.GetLabels() != nil {
		out["labels"] = labels(info.GetLabels())
	}
	tasks, unreachable, completed := []legacyTask{}, []legacyTask{}, []legacyTask{}
	for _, t := range f.tasks {
		one := legacyTaskOf(t, f.Framework)
		switch {
		case t.Completed != nil || f.Status.Removed != nil:
			completed = append(completed, one)
		case t.Unreachable != nil:
			unreachable = append(unreachable, one)
		default:
			tasks = append(tasks, one)
		}
	}
	out["tasks"], out["unreachable_tasks"], out["completed_tasks"] = tasks, unreachable, completed
	offers, executors := []any{}, []any{}
	for _, o := range f.offers {
		offers = append(offers, fields{"id": o.Name, "framework_id": o.Framework, "slave_id": o.Agent, "allocation_info": fields{"role": o.Role}, "resources": flat(listOf(o.Role, o.Resources))})
	}
	for _, e := range f.executors {
		executors = append(executors, e.legacy(f.Spec.ID))
	}
	out["offers"], out["executors"] = offers, executors
	return out
}

func (e *executor) legacy(framework string) fields {
	command := e.info.GetCommand()
	uris := []any{}
	for _, u := range command.GetUris() {
		uris = append(uris, fields{"value": u.GetValue(), "executable": u.GetExecutable()})
	}
	argv := append([]string{}, command.GetArguments()...)
	out := fields{
		"executor_id": e.info.GetExecutorId().GetValue(), "name": e.info.GetName(), "framework_id": framework, "slave_id": e.id, "role": e.role,
		"command":   fields{"shell": command.GetShell(), "value": command.GetValue(), "argv": argv, "uris": uris},
		"resources": flat(listOf(e.role, e.info.GetResources())), "type": e.info.GetType().String(),
	}
	if e.info.GetLabels() != nil {
		out["labels"] = labels(e.info.GetLabels())
	}
	return out
}

// legacyTask is a task with v0 names, in Mesos' order.
type legacyTask struct {
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	FrameworkID string          `json:"framework_id"`
	ExecutorID  string          `json:"executor_id"`
	SlaveID     string          `json:"slave_id"`
	State       string          `json:"state"`
	Resources   json.RawMessage `json:"resources"`
	Limits      json.RawMessage `json:"limits,omitempty"`
	Role        string          `json:"role"`
	Statuses    []legacyStatus  `json:"statuses"`
	User        string          `json:"user,omitempty"`
	Labels      []legacyLabel   `json:"labels,omitempty"`
	Discovery   json.RawMessage `json:"discovery,omitempty"`
	Container   json.RawMessage `json:"container,omitempty"`
	HealthCheck json.RawMessage `json:"health_check,omitempty"`
}

type legacyStatus struct {
	State           string          `json:"state"`
	Timestamp       float64         `json:"timestamp"`
	Labels          []legacyLabel   `json:"labels,omitempty"`
	ContainerStatus json.RawMessage `json:"container_status,omitempty"`
	Healthy         *bool           `json:"healthy,omitempty"`
}

type legacyLabel struct {
	Key   string  `json:"key"`
	Value *string `json:"value,omitempty"`
}

func legacyTaskOf(t *mesos.Task, f *mesos.Framework) legacyTask {
	out := legacyTask{
		ID: t.Name, Name: t.Info.GetName(), FrameworkID: t.Namespace, SlaveID: t.Agent, State: t.State.String(), Resources: flatJSON(t.Info.GetResources()),
		Role: t.Role, User: taskUser(t, f), Labels: labels(t.Info.GetLabels()), Statuses: []legacyStatus{},
	}
	if t.Executor != nil {
		out.ExecutorID = t.ExecutorID()
	}
	if d := t.Info.GetDiscovery(); d != nil {
		out.Discovery = raw(d)
	}
	if c := t.Info.GetContainer(); c != nil {
		out.Container = raw(c)
	}
	if h := t.Info.GetHealthCheck(); h != nil {
		out.HealthCheck = raw(h)
	}
	if len(t.Info.GetLimits()) > 0 {
		out.Limits = limits(t.Info.GetLimits())
	}
	for _, s := range t.Statuses {
		one := legacyStatus{State: s.GetState().String(), Timestamp: s.GetTimestamp(), Labels: labels(s.GetLabels()), Healthy: s.Healthy}
		if c := s.GetContainerStatus(); c != nil {
			one.ContainerStatus = raw(c)
		}
		out.Statuses = append(out.Statuses, one)
	}
	return out
}

// limits prints amounts by name; one without bound as the string that Mesos has.
func limits(all map[string]*mesosv1.Value_Scalar) json.RawMessage {
	out := []byte{'{'}
	for _, name := range sorted(all) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(appendKey(out, name), ':')
		value := codec.AppendJSON(nil, all[name]) // {"value":1.0}
		out = append(out, value[len(`{"value":`):len(value)-1]...)
	}
	return append(out, '}')
}

func labels(l *mesosv1.Labels) (all []legacyLabel) {
	for _, one := range l.GetLabels() {
		all = append(all, legacyLabel{one.GetKey(), one.Value})
	}
	return all
}

// tasksMax is how many tasks /tasks shows where nobody asks for more.
const tasksMax = 100

func showTasks(v *view, r *http.Request) (any, error) {
	offset, err := count(r, "offset", 0)
	if err != nil {
		return nil, err
	}
	limit, err := count(r, "limit", tasksMax)
	if err != nil {
		return nil, err
	}
	type dated struct {
		task legacyTask
		at   float64
	}
	var all []dated
	for _, f := range v.frameworks {
		if id := r.FormValue("framework_id"); id != "" && id != f.Spec.ID {
			continue
		}
		for _, t := range f.tasks {
			if id := r.FormValue("task_id"); id != "" && id != t.Name {
				continue
			}
			one := dated{task: legacyTaskOf(t, f.Framework)}
			if n := len(one.task.Statuses); n > 0 {
				one.at = one.task.Statuses[n-1].Timestamp
			}
			all = append(all, one)
		}
	}
	ascending := r.FormValue("order") == "asc"
	slices.SortStableFunc(all, func(a, b dated) int {
		if ascending {
			a, b = b, a
		}
		return cmp.Compare(b.at, a.at)
	})
	all = all[min(offset, len(all)):]
	tasks := []legacyTask{}
	for _, one := range all[:min(limit, len(all))] {
		tasks = append(tasks, one.task)
	}
	return fields{"tasks": tasks}, nil
}

func count(r *http.Request, name string, otherwise int) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, kind.New(kind.Malformed, "%s: %q is no number of 0 or more", name, text)
	}
	return n, nil
}

func showRoles(v *view, _ *http.Request) (any, error) {
	all := []any{}
	quotas := v.quotas()
	for _, r := range v.roles() {
		one := fields{
			"name": r.name, "weight": r.weight, "frameworks": append([]string{}, r.frameworks...), "resources": flat(r.used.Plus(r.offered)),
			"allocated": flat(r.used), "offered": flat(r.offered), "reserved": flat(r.reserved),
		}
		if q := quotas[r.name]; q != nil {
			one["quota"] = fields{"role": r.name, "guarantee": limits(q.Guarantees), "limit": limits(q.Limits), "consumed": flat(r.used.Plus(r.reserved))}
		}
		all = append(all, one)
	}
	return fields{"roles": all}, nil
}

// showSummary is the state without tasks: counts.
func showSummary(v *view, _ *http.Request) (any, error) {
	counts, byAgent := map[string]map[string]int{}, map[string]map[string]int{}
	of := func(m map[string]map[string]int, key string) map[string]int {
		if m[key] == nil {
			m[key] = map[string]int{}
			for _, state := range summed {
				m[key][state.String()] = 0
			}
		}
		return m[key]
	}
	on := map[string][]string{} // frameworks by agent
	for _, f := range v.frameworks {
		for _, t := range f.tasks {
			of(counts, f.Spec.ID)[t.State.String()]++
			of(byAgent, t.Agent)[t.State.String()]++
			if !slices.Contains(on[t.Agent], f.Spec.ID) {
				on[t.Agent] = append(on[t.Agent], f.Spec.ID)
			}
		}
	}
	slaves, frameworks := []any{}, []any{}
	for _, a := range v.agents {
		if !a.reachable() {
			continue
		}
		one := a.slave()
		one["framework_ids"] = append([]string{}, on[a.Status.ID]...)
		add(one, of(byAgent, a.Status.ID))
		slaves = append(slaves, one)
	}
	for _, f := range v.frameworks {
		if f.Status.Removed != nil {
			continue
		}
		one := f.legacyHead()
		ids := []string{}
		for id, fs := range on {
			if slices.Contains(fs, f.Spec.ID) {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		one["slave_ids"] = ids
		add(one, of(counts, f.Spec.ID))
		frameworks = append(frameworks, one)
	}
	head := v.head()
	return fields{"hostname": head["hostname"], "cluster": head["cluster"], "slaves": slaves, "frameworks": frameworks}, nil
}

var summed = []mesosv1.TaskState{
	mesosv1.TaskState_TASK_STAGING, mesosv1.TaskState_TASK_STARTING, mesosv1.TaskState_TASK_RUNNING, mesosv1.TaskState_TASK_KILLING, mesosv1.TaskState_TASK_FINISHED,
	mesosv1.TaskState_TASK_KILLED, mesosv1.TaskState_TASK_FAILED, mesosv1.TaskState_TASK_LOST, mesosv1.TaskState_TASK_ERROR, mesosv1.TaskState_TASK_UNREACHABLE,
}

func add(to fields, counts map[string]int) {
	for state, n := range counts {
		to[state] = n
	}
}

// flat is resources by name, as the older endpoints have them; the four that every
// reader expects are always there.
func flat(l mesosres.List) fields {
	out := fields{mesosres.CPUs: 0.0, mesosres.GPUs: 0.0, mesosres.Mem: 0.0, mesosres.Disk: 0.0}
	var rest mesosres.List
	for _, r := range l {
		name := r.Name
		if r.Revocable {
			name += "_revocable"
		}
		if r.Kind == mesosres.Scalar {
			sum, _ := out[name].(float64)
			out[name] = sum + mesosres.Number(r.Scalar)
			continue
		}
		rest = rest.Plus(mesosres.List{{Name: name, Kind: r.Kind, Ranges: r.Ranges, Set: r.Set}})
	}
	for _, r := range rest {
		if r.Kind == mesosres.Set {
			out[r.Name] = "{" + strings.Join(r.Set, ", ") + "}"
			continue
		}
		var parts []string
		for _, one := range r.Ranges {
			parts = append(parts, strconv.FormatUint(one.Begin, 10)+"-"+strconv.FormatUint(one.End, 10))
		}
		out[r.Name] = "[" + strings.Join(parts, ", ") + "]"
	}
	return out
}

func attributes(all []*mesosv1.Attribute) fields {
	out := fields{}
	for _, a := range all {
		switch a.GetType() {
		case mesosv1.Value_SCALAR:
			out[a.GetName()] = a.GetScalar().GetValue()
		case mesosv1.Value_RANGES:
			var parts []string
			for _, one := range a.GetRanges().GetRange() {
				parts = append(parts, strconv.FormatUint(one.GetBegin(), 10)+"-"+strconv.FormatUint(one.GetEnd(), 10))
			}
			out[a.GetName()] = "[" + strings.Join(parts, ", ") + "]"
		case mesosv1.Value_SET:
			out[a.GetName()] = "{" + strings.Join(a.GetSet().GetItem(), ", ") + "}"
		default:
			out[a.GetName()] = a.GetText().GetValue()
		}
	}
	return out
}

// raw is a message in Mesos' JSON.
func raw(m proto.Message) json.RawMessage { return codec.AppendJSON(nil, m) }

func raws[M proto.Message](all []M) []json.RawMessage {
	out := []json.RawMessage{}
	for _, m := range all {
		out = append(out, raw(m))
	}
	return out
}

func unix(t *metav1.Time) float64 {
	if t == nil {
		return 0
	}
	return seconds(t.Time)
}
