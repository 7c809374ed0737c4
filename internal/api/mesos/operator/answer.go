package operator

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosres "trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/object/mesos"
)

func protoName(s string) protoreflect.Name { return protoreflect.Name(s) }

func getHealth(_ *view, _ *master.Call, out *master.Response) error {
	out.Type, out.GetHealth = master.Response_GET_HEALTH.Enum(), &master.Response_GetHealth{Healthy: proto.Bool(true)}
	return nil
}

func getFlags(v *view, _ *master.Call, out *master.Response) error {
	flags := &master.Response_GetFlags{}
	for _, name := range sorted(v.cfg.Flags) {
		flags.Flags = append(flags.Flags, &mesosv1.Flag{Name: &name, Value: proto.String(v.cfg.Flags[name])})
	}
	out.Type, out.GetFlags = master.Response_GET_FLAGS.Enum(), flags
	return nil
}

func getVersion(v *view, _ *master.Call, out *master.Response) error {
	out.Type, out.GetVersion = master.Response_GET_VERSION.Enum(), &master.Response_GetVersion{VersionInfo: &mesosv1.VersionInfo{
		Version: proto.String(Version), BuildUser: proto.String("trireme"), GitTag: proto.String(v.cfg.Release),
	}}
	return nil
}

func getMetrics(v *view, _ *master.Call, out *master.Response) error {
	metrics := &master.Response_GetMetrics{}
	all := v.metrics()
	for _, name := range sorted(all) {
		metrics.Metrics = append(metrics.Metrics, &mesosv1.Metric{Name: &name, Value: proto.Float64(all[name])})
	}
	out.Type, out.GetMetrics = master.Response_GET_METRICS.Enum(), metrics
	return nil
}

// getLoggingLevel: what Mesos' verbosity 0 logs is what is logged here.
func getLoggingLevel(_ *view, _ *master.Call, out *master.Response) error {
	out.Type, out.GetLoggingLevel = master.Response_GET_LOGGING_LEVEL.Enum(), &master.Response_GetLoggingLevel{Level: proto.Uint32(0)}
	return nil
}

func setLoggingLevel(_ *Server, _ *Request, call *master.Call) error {
	if level := call.GetSetLoggingLevel().GetLevel(); level > 0 {
		return kind.New(kind.Unsupported, "set_logging_level.level: %d is not to be had: start the manager with the level that you want", level)
	}
	return nil
}

// noFiles: the manager keeps its log in the journal of its machine, and no files.
func noFiles(_ *view, call *master.Call, _ *master.Response) error {
	path := call.GetListFiles().GetPath() + call.GetReadFile().GetPath()
	return codec.Refuse(http.StatusNotFound, "No such file or directory: %s (the manager's log is in its machine's journal)", path)
}

func getState(v *view, call *master.Call, out *master.Response) error {
	out.Type, out.GetState = master.Response_GET_STATE.Enum(), v.state()
	return nil
}

func (v *view) state() *master.Response_GetState {
	part := &master.Response{}
	for _, read := range []reading{getTasks, getExecutors, getFrameworks, getAgents} {
		if err := read(v, nil, part); err != nil {
			panic("operator: a part of the state that always can be told: " + err.Error())
		}
	}
	return &master.Response_GetState{GetTasks: part.GetTasks, GetExecutors: part.GetExecutors, GetFrameworks: part.GetFrameworks, GetAgents: part.GetAgents}
}

func getAgents(v *view, _ *master.Call, out *master.Response) error {
	all := &master.Response_GetAgents{}
	for _, a := range v.agents {
		if a.reachable() {
			all.Agents = append(all.Agents, a.message())
		}
	}
	out.Type, out.GetAgents = master.Response_GET_AGENTS.Enum(), all
	return nil
}

func (a *agent) message() *master.Response_GetAgents_Agent {
	m := &master.Response_GetAgents_Agent{
		AgentInfo: a.info(), Active: proto.Bool(a.active()), Deactivated: proto.Bool(a.Spec.Deactivated || a.Spec.Down), Version: proto.String(Version), Pid: proto.String(a.pid()),
		RegisteredTime: timeInfo(a.Status.Registered), ReregisteredTime: timeInfo(a.Status.Reregistered),
		TotalResources: a.total.Messages(true), AllocatedResources: a.used.Messages(true), OfferedResources: a.offered.Messages(true),
		Capabilities: agentCapabilities(),
	}
	if d := a.drain(); d != nil {
		m.DrainInfo = d
	}
	return m
}

func (a *agent) info() *mesosv1.AgentInfo {
	info := &mesosv1.AgentInfo{Id: &mesosv1.AgentID{Value: proto.String(a.Status.ID)}, Hostname: proto.String(a.Name), Port: proto.Int32(mesos.AgentPort), Resources: a.total.Messages(true)}
	if a.node != nil {
		info.Attributes, info.Domain = mesos.Attributes(a.node, a.Agent), mesos.Domain(a.node)
	}
	return info
}

func agentCapabilities() (all []*mesosv1.AgentInfo_Capability) {
	for _, c := range []mesosv1.AgentInfo_Capability_Type{mesosv1.AgentInfo_Capability_MULTI_ROLE, mesosv1.AgentInfo_Capability_HIERARCHICAL_ROLE,
		mesosv1.AgentInfo_Capability_RESERVATION_REFINEMENT, mesosv1.AgentInfo_Capability_AGENT_DRAINING} {
		all = append(all, &mesosv1.AgentInfo_Capability{Type: c.Enum()})
	}
	return all
}

// drain is how far the agent is with it; nil: it is not drained.
func (a *agent) drain() *mesosv1.DrainInfo {
	d := a.Spec.Drain
	if d == nil {
		return nil
	}
	info := &mesosv1.DrainInfo{State: mesosv1.DrainState_DRAINING.Enum(), Config: &mesosv1.DrainConfig{MarkGone: proto.Bool(d.MarkGone)}}
	if a.tasks == 0 {
		info.State = mesosv1.DrainState_DRAINED.Enum()
	}
	if d.MaxGrace != nil {
		info.Config.MaxGracePeriod = &mesosv1.DurationInfo{Nanoseconds: proto.Int64(int64(d.MaxGrace.Duration))}
	}
	return info
}

func getFrameworks(v *view, _ *master.Call, out *master.Response) error {
	all := &master.Response_GetFrameworks{}
	for _, f := range v.frameworks {
		if f.Status.Removed != nil {
			all.CompletedFrameworks = append(all.CompletedFrameworks, v.frameworkMessage(f))
		} else {
			all.Frameworks = append(all.Frameworks, v.frameworkMessage(f))
		}
	}
	out.Type, out.GetFrameworks = master.Response_GET_FRAMEWORKS.Enum(), all
	return nil
}

func (v *view) frameworkMessage(f *framework) *master.Response_GetFrameworks_Framework {
	m := &master.Response_GetFrameworks_Framework{
		FrameworkInfo: f.info(), Active: proto.Bool(f.Active()), Connected: proto.Bool(f.Status.Connected), Recovered: proto.Bool(false),
		RegisteredTime: timeInfo(f.Status.Registered), ReregisteredTime: timeInfo(f.Status.Reregistered), UnregisteredTime: timeInfo(f.Status.Removed),
		AllocatedResources: f.used.Messages(true), OfferedResources: f.offered.Messages(true), OfferConstraints: f.Spec.Constraints.M,
	}
	for _, o := range f.offers {
		m.Offers = append(m.Offers, v.offerMessage(o))
	}
	for _, o := range f.inverse {
		m.InverseOffers = append(m.InverseOffers, &mesosv1.InverseOffer{
			Id: &mesosv1.OfferID{Value: &o.Name}, FrameworkId: &mesosv1.FrameworkID{Value: &o.Framework}, AgentId: &mesosv1.AgentID{Value: &o.Agent},
			Unavailability: o.Unavailability, Resources: o.Resources,
		})
	}
	return m
}

// info is what the framework said, with the id that it was given.
func (f *framework) info() *mesosv1.FrameworkInfo { return frameworkInfo(f.Framework) }

func frameworkInfo(f *mesos.Framework) *mesosv1.FrameworkInfo {
	if f.Spec.Info.M.GetId().GetValue() == f.Spec.ID {
		return f.Spec.Info.M
	}
	info := &mesosv1.FrameworkInfo{}
	if f.Spec.Info.M != nil {
		info = proto.CloneOf(f.Spec.Info.M)
	}
	info.Id = &mesosv1.FrameworkID{Value: proto.String(f.Spec.ID)}
	return info
}

func (v *view) offerMessage(o *mesos.Offer) *mesosv1.Offer {
	m := &mesosv1.Offer{
		Id: &mesosv1.OfferID{Value: &o.Name}, FrameworkId: &mesosv1.FrameworkID{Value: &o.Framework}, AgentId: &mesosv1.AgentID{Value: &o.Agent}, Hostname: &o.Node,
		Resources: listOf(o.Role, o.Resources).Messages(true), Unavailability: o.Unavailability, AllocationInfo: &mesosv1.Resource_AllocationInfo{Role: &o.Role},
	}
	if a := v.byNode[o.Node]; a != nil {
		info := a.info()
		m.Attributes, m.Domain = info.Attributes, info.Domain
	}
	return m
}

func getExecutors(v *view, _ *master.Call, out *master.Response) error {
	all := &master.Response_GetExecutors{}
	for _, f := range v.frameworks {
		for _, e := range f.executors {
			all.Executors = append(all.Executors, &master.Response_GetExecutors_Executor{ExecutorInfo: e.info, AgentId: &mesosv1.AgentID{Value: proto.String(e.id)}})
		}
	}
	out.Type, out.GetExecutors = master.Response_GET_EXECUTORS.Enum(), all
	return nil
}

// getOperations: operations are applied when they are accepted, none is ever under way.
func getOperations(_ *view, _ *master.Call, out *master.Response) error {
	out.Type, out.GetOperations = master.Response_GET_OPERATIONS.Enum(), &master.Response_GetOperations{}
	return nil
}

func getTasks(v *view, _ *master.Call, out *master.Response) error {
	all := &master.Response_GetTasks{}
	for _, f := range v.frameworks {
		for _, t := range f.tasks {
			m := taskMessage(t, f.Framework)
			switch {
			case t.Completed != nil:
				all.CompletedTasks = append(all.CompletedTasks, m)
			case t.Unreachable != nil:
				all.UnreachableTasks = append(all.UnreachableTasks, m)
			default:
				all.Tasks = append(all.Tasks, m)
			}
		}
	}
	out.Type, out.GetTasks = master.Response_GET_TASKS.Enum(), all
	return nil
}

func taskMessage(t *mesos.Task, f *mesos.Framework) *mesosv1.Task {
	m := &mesosv1.Task{
		Name: proto.String(t.Info.GetName()), TaskId: &mesosv1.TaskID{Value: &t.Name}, FrameworkId: &mesosv1.FrameworkID{Value: &t.Namespace},
		AgentId: &mesosv1.AgentID{Value: &t.Agent}, State: t.State.Enum(), Resources: allocated(t.Role, t.Info.GetResources()), Statuses: t.Statuses,
		Labels: t.Info.GetLabels(), Discovery: t.Info.GetDiscovery(), Container: t.Info.GetContainer(), HealthCheck: t.Info.GetHealthCheck(),
		KillPolicy: t.Info.GetKillPolicy(), Limits: t.Info.GetLimits(), User: proto.String(taskUser(t, f)),
	}
	if t.Executor != nil {
		m.ExecutorId = t.Executor.GetExecutorId()
	}
	if len(t.Pending) > 0 {
		m.StatusUpdateState, m.StatusUpdateUuid = t.Pending[0].State, t.Pending[0].GetUuid()
	} else if n := len(t.Statuses); n > 0 {
		m.StatusUpdateState, m.StatusUpdateUuid = t.Statuses[n-1].State, t.Statuses[n-1].GetUuid()
	}
	return m
}

func taskUser(t *mesos.Task, f *mesos.Framework) string {
	for _, user := range []string{t.Info.GetCommand().GetUser(), t.Executor.GetCommand().GetUser(), t.Info.GetExecutor().GetCommand().GetUser()} {
		if user != "" {
			return user
		}
	}
	return f.Spec.Info.M.GetUser()
}

// allocated marks resources as the role's, as all are that the operator sees.
func allocated(role string, all []*mesosv1.Resource) []*mesosv1.Resource {
	if !slices.ContainsFunc(all, func(r *mesosv1.Resource) bool { return r.AllocationInfo == nil }) {
		return all
	}
	to := &mesosv1.Resource_AllocationInfo{Role: &role}
	out := make([]*mesosv1.Resource, 0, len(all))
	for i, r := range all {
		if _, ok := plainScalar(r); ok {
			out = append(out, &mesosv1.Resource{Name: r.Name, Type: r.Type, Scalar: r.Scalar, AllocationInfo: to})
		} else {
			out = append(out, listOf(role, all[i:i+1]).Messages(true)...)
		}
	}
	return out
}

func getRoles(v *view, _ *master.Call, out *master.Response) error {
	all := &master.Response_GetRoles{}
	for _, r := range v.roles() {
		m := &mesosv1.Role{Name: proto.String(r.name), Weight: proto.Float64(r.weight), Resources: plain(r.used.Plus(r.offered)).Messages(true)}
		for _, id := range r.frameworks {
			m.Frameworks = append(m.Frameworks, &mesosv1.FrameworkID{Value: &id})
		}
		all.Roles = append(all.Roles, m)
	}
	out.Type, out.GetRoles = master.Response_GET_ROLES.Enum(), all
	return nil
}

// role is one that somebody has subscribed with, or that has a Tenant, reservations or
// what runs.
type role struct {
	name       string
	weight     float64
	frameworks []string
	used       mesosres.List
	offered    mesosres.List
	reserved   mesosres.List
}

// roles returns the roles that the caller may see, by name.
func (v *view) roles() (all []*role) {
	byName := map[string]*role{}
	of := func(name string) *role {
		if byName[name] == nil {
			byName[name] = &role{name: name, weight: 1}
		}
		return byName[name]
	}
	of(mesos.Everyone)
	for _, f := range v.frameworks {
		if f.Status.Removed == nil {
			for _, name := range f.Roles() {
				of(name).frameworks = append(of(name).frameworks, f.Spec.ID)
			}
		}
	}
	for _, a := range v.agents {
		for _, r := range a.used {
			of(r.Allocated).used = of(r.Allocated).used.Plus(mesosres.List{r})
		}
		for _, r := range a.offered {
			of(r.Allocated).offered = of(r.Allocated).offered.Plus(mesosres.List{r})
		}
		for _, r := range a.total {
			if r.Reserved() {
				of(r.Role()).reserved = of(r.Role()).reserved.Plus(mesosres.List{r})
			}
		}
	}
	for name, weight := range v.weights() {
		of(name).weight = weight
	}
	for name, r := range byName {
		if v.role(name) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *role) int { return strings.Compare(a.name, b.name) })
	return all
}

func getMaster(v *view, _ *master.Call, out *master.Response) error {
	out.Type, out.GetMaster = master.Response_GET_MASTER.Enum(), &master.Response_GetMaster{
		MasterInfo: v.cfg.Leader(), StartTime: proto.Float64(seconds(v.cfg.Started)), ElectedTime: proto.Float64(seconds(v.cfg.Elected())),
	}
	return nil
}

func timeInfo(t *metav1.Time) *mesosv1.TimeInfo {
	if t == nil {
		return nil
	}
	return &mesosv1.TimeInfo{Nanoseconds: proto.Int64(t.UnixNano())}
}

// seconds is a moment as Mesos has it: a number with a fraction.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
