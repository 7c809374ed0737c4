package mesos

import (
	"mime"
	"net/http"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/agent"
	"trireme/internal/object/mesos"
)

// callMax bounds a call, in bytes.
const callMax = 4 << 20

// call serves POST /api/v1.
func (s *Server) call(w http.ResponseWriter, r *http.Request) {
	req := &request{r, s, w}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && media == codec.RecordIO && r.Method == http.MethodPost {
		if err := req.attachInput(); err != nil {
			s.fail(w, err)
		}
		return
	}
	c := &agent.Call{}
	err := codec.Decode(r, c, callMax)
	if err == nil {
		err = req.answer(c)
	}
	if err != nil {
		s.fail(w, err)
	}
}

// calls are what an agent answers with a message; nil: with nothing.
var calls = map[agent.Call_Type]func(*request, *agent.Call) (*agent.Response, error){
	agent.Call_GET_HEALTH: func(*request, *agent.Call) (*agent.Response, error) {
		return &agent.Response{Type: agent.Response_GET_HEALTH.Enum(), GetHealth: &agent.Response_GetHealth{Healthy: proto.Bool(true)}}, nil
	},
	agent.Call_GET_VERSION: func(r *request, _ *agent.Call) (*agent.Response, error) {
		return &agent.Response{Type: agent.Response_GET_VERSION.Enum(), GetVersion: &agent.Response_GetVersion{VersionInfo: &mesosv1.VersionInfo{Version: proto.String(Version), GitTag: &r.s.cfg.Release}}}, nil
	},
	agent.Call_GET_FLAGS: getFlags, agent.Call_GET_METRICS: getMetrics, agent.Call_GET_LOGGING_LEVEL: getLevel, agent.Call_SET_LOGGING_LEVEL: setLevel,
	agent.Call_LIST_FILES: listFiles, agent.Call_READ_FILE: readFile, agent.Call_GET_STATE: getState, agent.Call_GET_CONTAINERS: getContainers,
	agent.Call_GET_FRAMEWORKS: getFrameworks, agent.Call_GET_EXECUTORS: getExecutors, agent.Call_GET_TASKS: getTasks, agent.Call_GET_AGENT: getAgent,
	agent.Call_GET_OPERATIONS: func(r *request, _ *agent.Call) (*agent.Response, error) {
		_, err := r.units()
		return &agent.Response{Type: agent.Response_GET_OPERATIONS.Enum(), GetOperations: &agent.Response_GetOperations{}}, err
	},
	agent.Call_GET_RESOURCE_PROVIDERS: func(r *request, _ *agent.Call) (*agent.Response, error) {
		_, err := r.units()
		return &agent.Response{Type: agent.Response_GET_RESOURCE_PROVIDERS.Enum(), GetResourceProviders: &agent.Response_GetResourceProviders{}}, err
	},
	agent.Call_LAUNCH_NESTED_CONTAINER: launchNested, agent.Call_WAIT_NESTED_CONTAINER: waitNested, agent.Call_KILL_NESTED_CONTAINER: killNested, agent.Call_REMOVE_NESTED_CONTAINER: removeNested,
	agent.Call_LAUNCH_CONTAINER: launchNested, agent.Call_WAIT_CONTAINER: waitNested, agent.Call_KILL_CONTAINER: killNested, agent.Call_REMOVE_CONTAINER: removeNested,
}

// streams are what an agent answers with a stream.
var streams = map[agent.Call_Type]func(*request, *agent.Call) error{
	agent.Call_LAUNCH_NESTED_CONTAINER_SESSION: session, agent.Call_ATTACH_CONTAINER_OUTPUT: attachOutput,
	agent.Call_ATTACH_CONTAINER_INPUT: func(*request, *agent.Call) error {
		return codec.Refuse(http.StatusUnsupportedMediaType, "Expecting 'Content-Type' to be %s", codec.RecordIO)
	},
}

func (r *request) answer(c *agent.Call) error {
	if missing := codec.Missing(c); len(missing) > 0 {
		return codec.NotValid(c, "Not initialized: "+missing[0])
	}
	if c.Type == nil {
		return codec.NotValid(c, "Expecting 'type' to be present")
	}
	if err := present(c); err != nil {
		return err
	}
	if h, ok := streams[c.GetType()]; ok {
		return h(r, c)
	}
	h, ok := calls[c.GetType()]
	if !ok {
		return codec.Refuse(http.StatusNotImplemented, "Received '%s' call", c.GetType())
	}
	answer, err := h(r, c)
	switch {
	case err != nil:
		return err
	case answer == nil:
		r.w.WriteHeader(http.StatusOK)
		return nil
	}
	return codec.Write(r.w, r.Request, answer)
}

// present says which part of the call is missing.
func present(c *agent.Call) error {
	for of, part := range map[agent.Call_Type]struct {
		name string
		has  bool
	}{
		agent.Call_LIST_FILES: {"list_files", c.ListFiles != nil}, agent.Call_READ_FILE: {"read_file", c.ReadFile != nil},
		agent.Call_LAUNCH_NESTED_CONTAINER: {"launch_nested_container", c.LaunchNestedContainer != nil}, agent.Call_WAIT_NESTED_CONTAINER: {"wait_nested_container", c.WaitNestedContainer != nil},
		agent.Call_KILL_NESTED_CONTAINER: {"kill_nested_container", c.KillNestedContainer != nil}, agent.Call_REMOVE_NESTED_CONTAINER: {"remove_nested_container", c.RemoveNestedContainer != nil},
		agent.Call_LAUNCH_CONTAINER: {"launch_container", c.LaunchContainer != nil}, agent.Call_WAIT_CONTAINER: {"wait_container", c.WaitContainer != nil},
		agent.Call_KILL_CONTAINER: {"kill_container", c.KillContainer != nil}, agent.Call_REMOVE_CONTAINER: {"remove_container", c.RemoveContainer != nil},
		agent.Call_LAUNCH_NESTED_CONTAINER_SESSION: {"launch_nested_container_session", c.LaunchNestedContainerSession != nil},
		agent.Call_ATTACH_CONTAINER_OUTPUT:         {"attach_container_output", c.AttachContainerOutput != nil},
	} {
		if of == c.GetType() && !part.has {
			return codec.NotValid(c, "Expecting '"+part.name+"' to be present")
		}
	}
	return nil
}

func getFlags(r *request, _ *agent.Call) (*agent.Response, error) {
	if _, err := r.may(Right{Verb: "list"}); err != nil {
		return nil, err
	}
	out := &agent.Response_GetFlags{}
	for _, name := range sortedKeys(r.s.cfg.Flags) {
		out.Flags = append(out.Flags, &mesosv1.Flag{Name: proto.String(name), Value: proto.String(r.s.cfg.Flags[name])})
	}
	return &agent.Response{Type: agent.Response_GET_FLAGS.Enum(), GetFlags: out}, nil
}

func getMetrics(r *request, _ *agent.Call) (*agent.Response, error) {
	all, err := r.metrics()
	if err != nil {
		return nil, err
	}
	out := &agent.Response_GetMetrics{}
	for _, name := range sortedKeys(all) {
		out.Metrics = append(out.Metrics, &mesosv1.Metric{Name: proto.String(name), Value: proto.Float64(all[name])})
	}
	return &agent.Response{Type: agent.Response_GET_METRICS.Enum(), GetMetrics: out}, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func getLevel(r *request, _ *agent.Call) (*agent.Response, error) {
	_, err := r.may(Right{Verb: "list"})
	return &agent.Response{Type: agent.Response_GET_LOGGING_LEVEL.Enum(), GetLoggingLevel: &agent.Response_GetLoggingLevel{Level: proto.Uint32(0)}}, err
}

func setLevel(r *request, _ *agent.Call) (*agent.Response, error) {
	return nil, codec.Refuse(http.StatusNotImplemented, "set_logging_level: an agent's logging has one level: start it with another --log-level")
}

func getFrameworks(r *request, _ *agent.Call) (*agent.Response, error) {
	all, err := r.units()
	return &agent.Response{Type: agent.Response_GET_FRAMEWORKS.Enum(), GetFrameworks: frameworks(all)}, err
}

func frameworks(all []*unit) *agent.Response_GetFrameworks {
	out, seen := &agent.Response_GetFrameworks{}, map[string]bool{}
	for _, u := range all {
		if !seen[u.place.Framework] {
			seen[u.place.Framework] = true
			out.Frameworks = append(out.Frameworks, &agent.Response_GetFrameworks_Framework{FrameworkInfo: u.framework()})
		}
	}
	return out
}

func getExecutors(r *request, _ *agent.Call) (*agent.Response, error) {
	all, err := r.units()
	return &agent.Response{Type: agent.Response_GET_EXECUTORS.Enum(), GetExecutors: executors(all)}, err
}

func executors(all []*unit) *agent.Response_GetExecutors {
	out := &agent.Response_GetExecutors{}
	for _, u := range all {
		out.Executors = append(out.Executors, &agent.Response_GetExecutors_Executor{ExecutorInfo: u.executor})
	}
	return out
}

func getTasks(r *request, _ *agent.Call) (*agent.Response, error) {
	all, err := r.units()
	return &agent.Response{Type: agent.Response_GET_TASKS.Enum(), GetTasks: tasks(all)}, err
}

func tasks(all []*unit) *agent.Response_GetTasks {
	out := &agent.Response_GetTasks{}
	for _, u := range all {
		for _, t := range u.tasks {
			switch {
			case mesos.Terminal(t.GetState()):
				out.TerminatedTasks = append(out.TerminatedTasks, t)
			case t.GetState() == mesosv1.TaskState_TASK_STAGING:
				out.QueuedTasks = append(out.QueuedTasks, t)
			default:
				out.LaunchedTasks = append(out.LaunchedTasks, t)
			}
		}
	}
	return out
}

func getState(r *request, _ *agent.Call) (*agent.Response, error) {
	all, err := r.units()
	return &agent.Response{Type: agent.Response_GET_STATE.Enum(), GetState: &agent.Response_GetState{GetTasks: tasks(all), GetExecutors: executors(all), GetFrameworks: frameworks(all)}}, err
}

func getAgent(r *request, _ *agent.Call) (*agent.Response, error) {
	_, err := r.may(Right{Verb: "list"})
	return &agent.Response{Type: agent.Response_GET_AGENT.Enum(), GetAgent: &agent.Response_GetAgent{AgentInfo: r.s.cfg.Agent()}}, err
}

func getContainers(r *request, _ *agent.Call) (*agent.Response, error) {
	all, err := r.units()
	out := &agent.Response_GetContainers{}
	for _, u := range all {
		out.Containers = append(out.Containers, &agent.Response_GetContainers_Container{
			FrameworkId: u.executor.FrameworkId, ExecutorId: u.executor.ExecutorId, ExecutorName: proto.String(u.executor.GetName()), ContainerId: &mesosv1.ContainerID{Value: &u.place.Container},
			ContainerStatus: u.containerStatus(), ResourceStatistics: r.s.statistics(u),
		})
	}
	return &agent.Response{Type: agent.Response_GET_CONTAINERS.Enum(), GetContainers: out}, err
}

// metrics are the numbers that Mesos' agents have and ours knows.
func (r *request) metrics() (map[string]float64, error) {
	all, err := r.units()
	if err != nil {
		return nil, err
	}
	out := map[string]float64{"slave/uptime_secs": time.Since(r.s.started).Seconds(), "slave/registered": 1, "slave/executors_running": float64(len(all))}
	for state := range mesosv1.TaskState_name {
		if name, ok := metricOf[mesosv1.TaskState(state)]; ok {
			out["slave/tasks_"+name] = 0
		}
	}
	seen := map[string]bool{}
	for _, u := range all {
		seen[u.place.Framework] = true
		for _, t := range u.tasks {
			if name, ok := metricOf[t.GetState()]; ok {
				out["slave/tasks_"+name]++
			}
		}
	}
	out["slave/frameworks_active"] = float64(len(seen))
	return out, nil
}

var metricOf = map[mesosv1.TaskState]string{
	mesosv1.TaskState_TASK_STAGING: "staging", mesosv1.TaskState_TASK_STARTING: "starting", mesosv1.TaskState_TASK_RUNNING: "running", mesosv1.TaskState_TASK_KILLING: "killing",
	mesosv1.TaskState_TASK_FINISHED: "finished", mesosv1.TaskState_TASK_FAILED: "failed", mesosv1.TaskState_TASK_KILLED: "killed", mesosv1.TaskState_TASK_LOST: "lost",
}
