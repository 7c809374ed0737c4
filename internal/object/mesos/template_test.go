package mesos

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/mesos/codec"
	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/defaults"
	"trireme/internal/object/sandbox"
	"trireme/internal/object/validate"
)

func framework() *Framework {
	f := &Framework{}
	f.Name, f.UID = "fw", "uid"
	f.Spec.ID = "fw"
	f.Spec.Info.M = &mesosv1.FrameworkInfo{User: proto.String("nobody"), Name: proto.String("f")}
	return f
}

func launchOf(text string) (*Launch, error) {
	t := &mesosv1.TaskInfo{}
	err := codec.ParseJSON([]byte(text), t)
	return &Launch{Framework: framework(), Role: "*", Agent: "s", Tasks: []*mesosv1.TaskInfo{t}}, err
}

const head = `{"name":"n","task_id":{"value":"t"},"agent_id":{"value":"s"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.5}},{"name":"mem","type":"SCALAR","scalar":{"value":64}},
{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31001}]}}]`

// TestTemplate looks at single fields of the Pod of a task, as JSON paths of its spec.
func TestTemplate(t *testing.T) {
	const docker = `,"container":{"type":"DOCKER","docker":{"image":"i"`
	for name, c := range map[string]struct{ task, want string }{
		"shell":        {`,"command":{"value":"a $(B) $C"}` + docker + `}}`, `"command":["/bin/sh","-c","a $$(B) $C"]`},
		"arguments":    {`,"command":{"shell":false,"value":"/bin/x","arguments":["x","-v"]}` + docker + `}}`, `"command":["/bin/x"],"args":["-v"]`},
		"image's own":  {`,"command":{"shell":false,"arguments":["-v"]}` + docker + `}}`, `"args":["-v"]`},
		"host network": {`,"command":{"value":"x"}` + docker + `}}`, `"hostNetwork":true`},
		"host ports":   {`,"command":{"value":"x"}` + docker + `}}`, `"ports":[{"hostPort":31000,"containerPort":31000,"protocol":"TCP"},{"hostPort":31001,"containerPort":31001,"protocol":"TCP"}]`},
		"bridge":       {`,"command":{"value":"x"}` + docker + `,"network":"BRIDGE","port_mappings":[{"host_port":31001,"container_port":80,"protocol":"udp"}]}}`, `"ports":[{"hostPort":31001,"containerPort":80,"protocol":"UDP"}]`},
		"pulled":       {`,"command":{"value":"x"}` + docker + `,"force_pull_image":true}}`, `"imagePullPolicy":"Always"`},
		"privileged":   {`,"command":{"value":"x"}` + docker + `,"privileged":true}}`, `"privileged":true`},
		"parameters":   {`,"command":{"value":"x"}` + docker + `,"parameters":[{"key":"cap-add","value":"NET_ADMIN"}]}}`, `"add":["NET_ADMIN"]`},
		"appc":         {`,"command":{"value":"x"},"container":{"type":"MESOS","mesos":{"image":{"type":"APPC","appc":{"name":"example.com/a","labels":{"labels":[{"key":"version","value":"2"}]}}}}}`, `"image":"example.com/a:2"`},
		"no image":     {`,"command":{"value":"x"}`, `"image":"` + sandbox.HostImage + `"`},
		"its user":     {`,"command":{"value":"x"}`, `"command":["/run-on-host","-u","nobody","-p","/bin/sh","--"]`},
		"grace":        {`,"command":{"value":"x"},"kill_policy":{"grace_period":{"nanoseconds":1500000000}}`, `"terminationGracePeriodSeconds":2`},
		"its default":  {`,"command":{"value":"x"}`, `"terminationGracePeriodSeconds":3`},
		"deadline":     {`,"command":{"value":"x"},"max_completion_time":{"nanoseconds":5000000000}`, `"activeDeadlineSeconds":5`},
		"no limit":     {`,"command":{"value":"x"},"limits":{"mem":{"value":"Infinity"},"cpus":{"value":2}}`, `"resources":{"limits":{"cpu":"2"},"requests":{"cpu":"500m","memory":"64Mi"}}`},
		"healthy": {`,"command":{"value":"x"},"health_check":{"type":"HTTP","http":{"port":31000,"path":"/h"},"grace_period_seconds":30}`,
			`"livenessProbe":{"httpGet":{"path":"/h","port":31000,"host":"127.0.0.1","scheme":"HTTP"},"initialDelaySeconds":30,"timeoutSeconds":20,"periodSeconds":10,"successThreshold":1,"failureThreshold":3}`},
		"host check": {`,"command":{"value":"x"},"health_check":{"type":"COMMAND","command":{"value":"true"}}`, `"exec":{"command":["/run-on-host","-p","/bin/sh","--","sh","-c","true"]}`},
		"volume":     {`,"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"i"},"volumes":[{"mode":"RO","container_path":"/d","host_path":"/srv"}]}`, `"readOnly":true,"mountPath":"/d"`},
		"in sandbox": {`,"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"i"},"volumes":[{"mode":"RW","container_path":"/d","host_path":"data"}]}`, `{"name":"mesos-sandbox","mountPath":"/d","subPath":"data"}`},
		"secret":     {`,"command":{"value":"x","environment":{"variables":[{"name":"A","type":"SECRET","secret":{"type":"REFERENCE","reference":{"name":"s","key":"k"}}}]}}`, `{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}`},
		"literal":    {`,"command":{"value":"x","environment":{"variables":[{"name":"A","value":"$(B)"},{"name":"A","value":"$(C)"}]}}`, `"env":[{"name":"A","value":"$$(C)"},{"name":"MESOS_FRAMEWORK_ID","value":"fw"}`},
		"rlimit":     {`,"command":{"value":"x"},"container":{"type":"MESOS","tty_info":{},"rlimit_info":{"rlimits":[{"type":"RLMT_NOFILE","hard":10,"soft":5}]}}`, `"tty":true`},
	} {
		l, err := launchOf(head + c.task + "}")
		if err != nil {
			t.Fatal(name, err)
		}
		pod, err := l.Pod()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, err := json.Marshal(pod.Spec)
		if err != nil || !strings.Contains(string(text), c.want) {
			t.Errorf("%s: %v: want %s in\n%s", name, err, c.want, text)
		}
		if errs := validity(pod); errs != "" {
			t.Errorf("%s: %s", name, errs)
		}
	}
}

// TestRevocable: of what is revocable nobody is asked, and its Pod gives way to others.
func TestRevocable(t *testing.T) {
	l, err := launchOf(head + `,"command":{"value":"x"}}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range l.Tasks[0].Resources {
		if r.GetName() == "cpus" || r.GetName() == "mem" {
			r.Revocable = &mesosv1.Resource_RevocableInfo{}
		}
	}
	pod, err := l.Pod()
	if err != nil {
		t.Fatal(err)
	}
	if errs := validity(pod); errs != "" {
		t.Error(errs)
	}
	r := pod.Spec.Containers[0].Resources
	if !r.Requests.Cpu().IsZero() || !r.Requests.Memory().IsZero() || r.Limits.Memory().String() != "64Mi" || !r.Limits.Cpu().IsZero() {
		t.Errorf("it asks for %+v", r)
	}
	if pod.Spec.PriorityClassName != RevocableClass || pod.Labels[RevocableLabel] == "" {
		t.Errorf("class %q, labels %v", pod.Spec.PriorityClassName, pod.Labels)
	}
	more, err := resource.From("resources", l.Tasks[0].Resources)
	if err != nil {
		t.Fatal(err)
	}
	grown, err := Resized(pod, more, 1)
	if err != nil {
		t.Fatal(err)
	}
	if r := grown.Spec.Containers[0].Resources; !r.Requests.Cpu().IsZero() || r.Limits.Memory().String() != "128Mi" {
		t.Errorf("with as much again it asks for %+v", r)
	}
}

func validity(pod *corev1.Pod) string {
	pod.Name = "p"
	defaults.Pod(pod)
	if errs := validate.Object(pod); len(errs) > 0 {
		return errs.ToAggregate().Error()
	}
	return ""
}

// TestTemplateRefuses: what a Pod cannot be is an error that names the field.
func TestTemplateRefuses(t *testing.T) {
	for want, task := range map[string]string{
		"limits: mem: 1 is less than": `,"command":{"value":"x"},"limits":{"mem":{"value":1}}`,
		`limits: "disk"`:              `,"command":{"value":"x"},"limits":{"disk":{"value":1}}`,
		"container.docker.port_mappings[0].host_port: 80 is not":          `,"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"i","network":"BRIDGE","port_mappings":[{"host_port":80,"container_port":80}]}}`,
		"container.network_infos[0].ip_addresses: ":                       `,"command":{"value":"x"},"container":{"type":"MESOS","network_infos":[{"ip_addresses":[{"ip_address":"10.1.1.1"}]}]}`,
		"container.volumes[0].container_path: \"../x\"":                   `,"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"i"},"volumes":[{"mode":"RW","container_path":"../x","host_path":"/a"}]}`,
		"container.volumes[0].host_path: \"../x\"":                        `,"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"i"},"volumes":[{"mode":"RW","container_path":"/x","host_path":"../x"}]}`,
		"container.volumes[0].container_path: \"/etc\": a task without":   `,"command":{"value":"x"},"container":{"type":"MESOS","volumes":[{"mode":"RW","container_path":"/etc","host_path":"/a"}]}`,
		"container.linux_info.shm_size":                                   `,"command":{"value":"x"},"container":{"type":"MESOS","linux_info":{"shm_size":64}}`,
		"container.rlimit_info":                                           `,"command":{"value":"x"},"container":{"type":"MESOS","rlimit_info":{"rlimits":[{"type":"RLMT_NICE","hard":1,"soft":1}]}}`,
		"container.hostname: ":                                            `,"command":{"value":"x"},"container":{"type":"MESOS","hostname":"h"}`,
		"kill_policy.grace_period: ":                                      `,"command":{"value":"x"},"kill_policy":{"grace_period":{"nanoseconds":-1}}`,
		"max_completion_time: ":                                           `,"command":{"value":"x"},"max_completion_time":{"nanoseconds":0}`,
		"health_check.http.statuses":                                      `,"command":{"value":"x"},"health_check":{"type":"HTTP","http":{"port":1,"statuses":[200]}}`,
		"check: cannot be had beside":                                     `,"command":{"value":"x"},"health_check":{"type":"TCP","tcp":{"port":1}},"check":{"type":"TCP","tcp":{"port":1}}`,
		"command.environment.variables[0].name: ":                         `,"command":{"value":"x","environment":{"variables":[{"name":"a=b","value":"c"}]}}`,
		"command.uris[0].value: is empty":                                 `,"command":{"value":"x","uris":[{"value":""}]}`,
		"container.docker: is for containers of type DOCKER":              `,"command":{"value":"x"},"container":{"type":"MESOS","docker":{"image":"i"}}`,
		"container.volumes[0].source.docker_volume.driver: ":              `,"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"i"},"volumes":[{"mode":"RW","container_path":"/x","source":{"type":"DOCKER_VOLUME","docker_volume":{"driver":"rexray","name":"v"}}}]}`,
		"command.value: is missing: a task without an image needs a comm": `,"command":{"shell":false}`,
	} {
		l, err := launchOf(head + task + "}")
		if err != nil {
			t.Fatal(want, err)
		}
		if _, err := l.Pod(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s…", err, want)
		}
	}
}

// TestFollow: what a Pod shows is what its task is told, whatever was missed between.
func TestFollow(t *testing.T) {
	at := metav1.NewTime(time.Unix(1700000000, 0))
	container := func(s corev1.ContainerState, ready bool) *corev1.Pod {
		p := &corev1.Pod{}
		p.UID, p.Spec.NodeName, p.Status.StartTime, p.Status.Phase = "u", "n", &at, corev1.PodRunning
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: TaskContainer, State: s, Ready: ready}}
		return p
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}
	over := func(code int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, StartedAt: at, FinishedAt: at, ContainerID: "c"}}
	}
	deadline := container(over(137, "Error"), false)
	deadline.Status.Phase, deadline.Status.Reason = corev1.PodFailed, "DeadlineExceeded"
	health := &mesosv1.TaskInfo{HealthCheck: &mesosv1.HealthCheck{}}
	for name, c := range map[string]struct {
		info *mesosv1.TaskInfo
		kill *Kill
		pods []*corev1.Pod
		want string
	}{
		"ran":       {nil, nil, []*corev1.Pod{container(over(0, "Completed"), false)}, "STARTING RUNNING FINISHED/Command exited with status 0"},
		"failed":    {nil, nil, []*corev1.Pod{container(over(4, "Error"), false)}, "STARTING RUNNING FAILED(COMMAND_EXECUTOR_FAILED)/Command exited with status 4"},
		"oom":       {nil, nil, []*corev1.Pod{container(over(137, "OOMKilled"), false)}, "STARTING RUNNING FAILED(CONTAINER_LIMITATION_MEMORY)/Memory limit exceeded: Command terminated with signal Killed"},
		"too long":  {nil, nil, []*corev1.Pod{deadline}, "STARTING RUNNING FAILED(MAX_COMPLETION_TIME_REACHED)/Max completion time reached: "},
		"killed":    {nil, &Kill{By: mesosv1.TaskStatus_SOURCE_EXECUTOR}, []*corev1.Pod{container(over(0, "Completed"), false)}, "STARTING RUNNING KILLED/Command exited with status 0"},
		"drained":   {nil, &Kill{Cause: mesosv1.TaskStatus_REASON_AGENT_DRAINING}, []*corev1.Pod{container(over(143, "Error"), false)}, "STARTING RUNNING KILLED(AGENT_DRAINING)/Command terminated with signal Terminated"},
		"gone":      {nil, nil, []*corev1.Pod{container(running, true), nil}, "STARTING RUNNING FAILED(EXECUTOR_TERMINATED)/The Pod of the task was deleted"},
		"no image":  {nil, nil, []*corev1.Pod{container(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "m"}}, false)}, "STARTING FAILED(CONTAINER_LAUNCH_FAILED)/Failed to launch container: ErrImagePull: m"},
		"healthy":   {health, nil, []*corev1.Pod{container(running, false), container(running, true), container(running, true), container(running, false), container(over(137, "Error"), false)}, "STARTING RUNNING RUNNING(TASK_HEALTH_CHECK_STATUS_UPDATED)+true RUNNING(TASK_HEALTH_CHECK_STATUS_UPDATED)+false KILLED+false/Command terminated with signal Killed"},
		"unhealthy": {health, nil, []*corev1.Pod{container(running, false)}, "STARTING RUNNING"},
	} {
		task := &Task{Info: c.info, Kill: c.kill, Container: TaskContainer, PodUID: "u", State: mesosv1.TaskState_TASK_STAGING}
		if task.Info == nil {
			task.Info = &mesosv1.TaskInfo{}
		}
		for _, p := range c.pods {
			task = Observer{Now: at.Time}.Follow(task, p)
			if again := (Observer{Now: at.Time}).Follow(task, p); again != task {
				t.Errorf("%s: the same Pod tells more: %v", name, again.Statuses)
			}
		}
		var got []string
		for _, s := range task.Pending {
			text := strings.TrimPrefix(s.GetState().String(), "TASK_")
			if s.Reason != nil {
				text += "(" + strings.TrimPrefix(s.GetReason().String(), "REASON_") + ")"
			}
			if s.Healthy != nil {
				text += map[bool]string{true: "+true", false: "+false"}[s.GetHealthy()]
			}
			if s.GetMessage() != "" {
				text += "/" + s.GetMessage()
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, " "), c.want)
		}
	}
}

// FuzzTemplate: no TaskInfo panics, and the Pod of one is what the API would take, or says why
// not when it is checked.
func FuzzTemplate(f *testing.F) {
	f.Add([]byte(head + `,"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"i","network":"BRIDGE"}}}`))
	f.Add([]byte(head + `,"command":{"value":"x"},"health_check":{"type":"TCP","tcp":{"port":70000}},"limits":{"cpus":{"value":"NaN"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		info := &mesosv1.TaskInfo{}
		if codec.ParseJSON(text, info) != nil {
			return
		}
		for _, group := range []bool{false, true} {
			l := &Launch{Framework: framework(), Role: "r", Agent: "s", Tasks: []*mesosv1.TaskInfo{info}, Group: group}
			if group {
				l.Executor = &mesosv1.ExecutorInfo{ExecutorId: &mesosv1.ExecutorID{Value: proto.String("e")}}
			}
			if pod, err := l.Pod(); err == nil {
				validity(pod)
			}
		}
	})
}
