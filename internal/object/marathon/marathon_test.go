package marathon

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/swarm"
)

func parse(t *testing.T, text string) (*Definition, error) {
	t.Helper()
	tree, err := Fields([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	d, err := Parse(tree, "/")
	if err != nil {
		return nil, err
	}
	return d, d.Validate()
}

func good(t *testing.T, text string) *Definition {
	t.Helper()
	d, err := parse(t, text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

const image = `"container": {"docker": {"image": "web:1"}}`

func TestProblems(t *testing.T) {
	for _, tt := range []struct{ path, text string }{
		{"/id", `{"cmd": "true"}`},
		{"/id", `{"id": "/UP", "cmd": "true"}`},
		{"/id", `{"id": "/", "cmd": "true"}`},
		{"/id", `{"id": "/a/-b", "cmd": "true"}`},
		{"/", `{"id": "/a"}`},
		{"/", `{"id": "/a", "cmd": "true", "args": ["x"]}`},
		{"/toss", `{"id": "/a", "cmd": "true", "toss": 1}`},
		{"/instances", `{"id": "/a", "cmd": "true", "instances": -1}`},
		{"/instances", `{"id": "/a", "cmd": "true", "instances": "x"}`},
		{"/cpus", `{"id": "/a", "cmd": "true", "cpus": 1e308}`},
		{"/mem", `{"id": "/a", "cmd": "true", "mem": -0.5}`},
		{"/backoffFactor", `{"id": "/a", "cmd": "true", "backoffFactor": 0.5}`},
		{"/networks/0/mode", `{"id": "/a", "cmd": "true", "networks": [{"mode": "bridge"}]}`},
		{"/networks", `{"id": "/a", ` + image + `, "networks": [{"mode": "host"}, {"mode": "container/bridge"}]}`},
		{"/portDefinitions", `{"id": "/a", ` + image + `, "networks": [{"mode": "container/bridge"}], "portDefinitions": [{"port": 1}]}`},
		{"/portDefinitions/1", `{"id": "/a", "cmd": "true", "portDefinitions": [{"port": 9000}, {"port": 9000}]}`},
		{"/portDefinitions/0", `{"id": "/a", "cmd": "true", "portDefinitions": [{"port": 70000}]}`},
		{"/portDefinitions/0/protocol", `{"id": "/a", "cmd": "true", "portDefinitions": [{"protocol": "sctp"}]}`},
		{"/upgradeStrategy/minimumHealthCapacity", `{"id": "/a", "cmd": "true", "upgradeStrategy": {"minimumHealthCapacity": 1.5}}`},
		{"/killSelection", `{"id": "/a", "cmd": "true", "killSelection": "RANDOM"}`},
		{"/unreachableStrategy/expungeAfterSeconds", `{"id": "/a", "cmd": "true", "unreachableStrategy": {"inactiveAfterSeconds": 9, "expungeAfterSeconds": 3}}`},
		{"/constraints/0", `{"id": "/a", "cmd": "true", "constraints": [["hostname", "NEAR"]]}`},
		{"/constraints/0", `{"id": "/a", "cmd": "true", "constraints": [["rack", "LIKE", "("]]}`},
		{"/constraints/0", `{"id": "/a", "cmd": "true", "constraints": [["rack", "MAX_PER", "none"]]}`},
		{"/constraints/1", `{"id": "/a", "cmd": "true", "constraints": [["rack", "GROUP_BY"], ["zone", "UNIQUE"]]}`},
		{"/healthChecks/0/portIndex", `{"id": "/a", "cmd": "true", "healthChecks": [{"portIndex": 3}]}`},
		{"/healthChecks/0/protocol", `{"id": "/a", "cmd": "true", "healthChecks": [{"protocol": "GRPC"}]}`},
		{"/healthChecks", `{"id": "/a", "cmd": "true", "healthChecks": [{"protocol": "HTTP"}, {"protocol": "MESOS_TCP"}]}`},
		{"/readinessChecks/0/portName", `{"id": "/a", "cmd": "true", "readinessChecks": [{}]}`},
		{"/env/KEY/secret", `{"id": "/a", ` + image + `, "env": {"KEY": {"secret": "none"}}}`},
		{"/container/docker/parameters/0", `{"id": "/a", "container": {"docker": {"image": "a", "parameters": [{"key": "volume-driver", "value": "x"}]}}}`},
		{"/acceptedResourceRoles/0", `{"id": "/a", "cmd": "true", "acceptedResourceRoles": ["other"]}`},
		{"/executor", `{"id": "/a", "cmd": "true", "executor": "/opt/mine"}`},
		{"/dependencies/0", `{"id": "/a", "cmd": "true", "dependencies": ["a"]}`},
	} {
		_, err := parse(t, tt.text)
		var bad Problems
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v; want a problem at %s", tt.text, err, tt.path)
			continue
		}
		var paths []string
		for _, p := range bad {
			paths = append(paths, p.Path)
		}
		if !strings.Contains(" "+strings.Join(paths, " ")+" ", " "+tt.path+" ") {
			t.Errorf("%s: problems at %v; want one at %s", tt.text, paths, tt.path)
		}
	}
}

// TestLegacy: what older clients write means what today's words do.
func TestLegacy(t *testing.T) {
	for old, now := range map[string]string{
		`{"id": "a", "cmd": "true", "ports": [9000, 0], "uris": ["http://x/y"], "storeUrls": [], "tasksRunning": 3}`: `{"id": "/a", "cmd": "true",
			"portDefinitions": [{"port": 9000}, {"port": 0}], "fetch": [{"uri": "http://x/y"}]}`,
		`{"id": "a//", "ports": null, "container": {"type": "DOCKER", "docker": {"image": "web:1", "network": "BRIDGE", "portMappings": [{"containerPort": 80}]}}}`: `{"id": "/a",
			"container": {"docker": {"image": "web:1"}, "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}]}, "networks": [{"mode": "container/bridge"}]}`,
		`{"id": "/a", ` + image + `, "ipAddress": {"networkName": "red", "discovery": {"ports": [{"number": 80, "name": "http", "protocol": "tcp"}]}}}`: `{"id": "/a",
			"container": {"docker": {"image": "web:1"}, "portMappings": [{"containerPort": 80, "name": "http"}]}, "networks": [{"name": "red"}]}`,
	} {
		if d := cmp.Diff(good(t, now), good(t, old)); d != "" {
			t.Errorf("%s (-want +got):\n%s", old, d)
		}
	}
}

// TestGeneration: only what an instance is made from wants new ones.
func TestGeneration(t *testing.T) {
	a := good(t, `{"id": "/a", "cmd": "true"}`)
	b := good(t, `{"id": "/a", "cmd": "true", "instances": 7}`)
	c := good(t, `{"id": "/a", "cmd": "false"}`)
	b.Version, b.VersionInfo = "v", &VersionInfo{LastScalingAt: "v"}
	if a.Same(c) || !a.Same(b) {
		t.Error("what wants new instances")
	}
	if b.VersionInfo.LastConfigChangeAt = "w"; !a.Same(b) || a.Generation() == b.Generation() {
		t.Error("a restart is another generation of the same definition")
	}
}

func TestIDs(t *testing.T) {
	for path, want := range map[string]string{"a": "/g/a", "/a//b/": "/a/b", "../b": "/b", "": "/g", "/": "/"} {
		if got := Resolve(path, "/g"); got != want {
			t.Errorf("Resolve(%q) = %q, want %q", path, got, want)
		}
	}
	names := map[string]string{}
	for _, id := range []string{"/a/b", "/a-b", "/a.b", "/ab", "/root", "/", "/1", "/a1", "/" + strings.Repeat("a", 60), "/" + strings.Repeat("a", 61)} {
		name := Name(id)
		if len(name) > nameMax || names[name] != "" {
			t.Errorf("%s and %s are both called %s", id, names[name], name)
		}
		names[name] = id
	}
	if uid, ok := TaskUID(TaskID("/a/b", "8eaad4af-0dd8-4f46-8932-40144540a339")); !ok || uid != "8eaad4af-0dd8-4f46-8932-40144540a339" {
		t.Errorf("the id of a task is not read back: %s", uid)
	}
}

func TestPlan(t *testing.T) {
	app := func(id, cmd string, n int32, on ...string) *Definition {
		d := good(t, `{"id": "`+id+`", "cmd": "`+cmd+`"}`)
		d.Instances, d.Dependencies, d.Version = &n, on, "v"
		return d
	}
	want := map[string]*Definition{"/s/db": app("/s/db", "x", 1), "/s/api": app("/s/api", "y", 2, "/s/db"), "/s/web": app("/s/web", "x", 3, "/s/api"), "/t": app("/t", "x", 1)}
	changes := map[string]Change{
		"/s/db": {From: app("/s/db", "x", 1), To: want["/s/db"]}, "/s/api": {From: app("/s/api", "x", 2), To: want["/s/api"]},
		"/s/web": {To: want["/s/web"]}, "/t": {From: app("/t", "x", 5), To: want["/t"]}, "/old": {From: app("/old", "x", 1), UID: "u"},
	}
	ids := []string{"/s/api", "/s/db", "/s/web", "/t"}
	groups := map[string]*GroupSpec{"/s": {ID: "/s", Dependencies: []string{"/t"}}}
	var got []string
	for _, s := range Plan(changes, func(id string) []string { return Waits(want[id], groups, ids) }) {
		var line []string
		for _, a := range s.Actions {
			line = append(line, a.Action+" "+a.App)
		}
		got = append(got, strings.Join(line, ", "))
	}
	if d := cmp.Diff([]string{"StopApplication /old", "StartApplication /s/web", "ScaleApplication /t", "RestartApplication /s/api", "ScaleApplication /s/web"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if id := Circle([]string{"/a", "/b"}, func(id string) []string { return map[string][]string{"/a": {"/b"}, "/b": {"/a"}}[id] }); id == "" {
		t.Error("a circle is not found")
	}
}

func TestDelay(t *testing.T) {
	d := good(t, `{"id": "/a", "cmd": "true", "backoffSeconds": 2, "backoffFactor": 3, "maxLaunchDelaySeconds": 10}`)
	for n, want := range []time.Duration{0, 2 * time.Second, 6 * time.Second, 10 * time.Second} {
		if got := d.Delay(int32(n)); got != want {
			t.Errorf("after %d failures %s, want %s", n, got, want)
		}
	}
}

// TestTemplate: an instance's ports, variables, constraints and checks as its pod has them.
func TestTemplate(t *testing.T) {
	d := good(t, `{"id": "/g/a", "cmd": "run $(X)", "cpus": 0.5, "mem": 64, `+image+`, "portDefinitions": [{"port": 10001, "name": "http"}, {"protocol": "udp,tcp"}],
		"healthChecks": [{"protocol": "MESOS_HTTP", "portIndex": 0, "gracePeriodSeconds": 120}], "constraints": [["hostname", "UNIQUE"], ["rack", "LIKE", "r[12]"]],
		"taskKillGracePeriodSeconds": 7, "unreachableStrategy": {"inactiveAfterSeconds": 5, "expungeAfterSeconds": 60}, "env": {"PORT1": "mine"}}`)
	p, err := d.Template()
	if err != nil {
		t.Fatal(err)
	}
	c := p.Spec.Containers[0]
	env := map[string]string{}
	for _, v := range c.Env {
		env[v.Name] = v.Value
		if v.ValueFrom != nil {
			env[v.Name] = v.ValueFrom.FieldRef.FieldPath
		}
	}
	for name, want := range map[string]string{
		"PORT0": "metadata.annotations['" + object.PortAnnotation(0) + "']", "PORT": "$(PORT0)", "PORT_HTTP": "$(PORT0)", "PORT_10001": "$(PORT0)", "PORTS": "$(PORT0),$(PORT1)",
		"PORT1": "mine", "MARATHON_APP_RESOURCE_CPUS": "0.5", "MESOS_TASK_ID": "g_a.instance-$(TRIREME_POD_UID)._app.1",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	if c.Command[2] != "run $$(X)" || *p.Spec.TerminationGracePeriodSeconds != 7 || *p.Spec.Tolerations[0].TolerationSeconds != 60 || !p.Spec.HostNetwork {
		t.Errorf("%+v", p.Spec)
	}
	if s := c.StartupProbe; s.FailureThreshold != 5 || s.InitialDelaySeconds != 15 || s.HTTPGet.Port.StrVal != "port-0" || c.LivenessProbe.FailureThreshold != 3 {
		t.Errorf("%+v", c.StartupProbe)
	}
	place, err := swarm.ReadPlacement(p.Annotations[swarm.PlacementAnnotation])
	if err != nil || place.MaxPerNode != 1 {
		t.Errorf("%v %+v", err, place)
	}
	for rack, fits := range map[string]bool{"r1": true, "r3": false, "": false} {
		n := &corev1.Node{}
		if rack != "" {
			n.Labels = map[string]string{"rack": rack}
		}
		if place.Fits(n) != fits {
			t.Errorf("rack %q: %t", rack, !fits)
		}
	}
	pod := object.AssignPorts(&corev1.Pod{ObjectMeta: p.ObjectMeta, Spec: p.Spec}, object.DynamicPorts(&corev1.Pod{ObjectMeta: p.ObjectMeta}), []int32{31001, 31002})
	if got := d.HostPorts(pod); !cmp.Equal(got, []int32{31001, 31002}) {
		t.Errorf("ports %v", got)
	}
	if got := object.HostPorts(pod); len(got) != 3 || got[0].Port != 31001 || got[2].Port != 31002 {
		t.Errorf("the node's ports %v", got)
	}
}

// TestOverlay: an update has fields in place of the app's; what means the same goes.
func TestOverlay(t *testing.T) {
	d := good(t, `{"id": "/a", "cmd": "true", "portDefinitions": [{"port": 9000}], "fetch": [{"uri": "http://x/y"}], `+image+`}`)
	for update, want := range map[string]string{
		`{"args": ["x"], "cmd": null}`: `{"id": "/a", "args": ["x"], "portDefinitions": [{"port": 9000}], "fetch": [{"uri": "http://x/y"}], ` + image + `}`,
		`{"ports": [1], "uris": []}`:   `{"id": "/a", "cmd": "true", "portDefinitions": [{"port": 1}], ` + image + `}`,
		`{"container": {"docker": {"image": "web:2", "network": "BRIDGE", "portMappings": [{"containerPort": 1}]}}, "networks": [{"mode": "container/bridge"}]}`: `{"id": "/a",
			"cmd": "true", "fetch": [{"uri": "http://x/y"}], "networks": [{"mode": "container/bridge"}], "container": {"docker": {"image": "web:2"}, "portMappings": [{"containerPort": 1}]}}`,
	} {
		tree, err := Fields([]byte(update))
		if err != nil {
			t.Fatal(err)
		}
		if tree, err = Overlay(d, tree); err != nil {
			t.Fatal(err)
		}
		got, err := Parse(tree, "/")
		if err != nil {
			t.Fatalf("%s: %v", update, err)
		}
		if diff := cmp.Diff(good(t, want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", update, diff)
		}
	}
}

// TestBalanced: the labels of marathon-lb as an ingress has them.
func TestBalanced(t *testing.T) {
	d := good(t, `{"id": "/a", "cmd": "x", "portDefinitions": [{"port": 10001}, {"port": 10002}, {"port": 10003}], "labels": {"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "A.test, b.test",
		"HAPROXY_0_PATH": "/x", "HAPROXY_0_REDIRECT_TO_HTTPS": "true", "HAPROXY_0_SSL_CERT": "front", "HAPROXY_1_VHOST": "c.test", "HAPROXY_1_SSL_CERT": "/etc/ssl/shop.pem", "HAPROXY_1_PORT": "8443", "HAPROXY_1_STICKY": "true", "HAPROXY_2_ENABLED": "false"}}`)
	ports := d.Balanced()
	if len(ports) != 2 || ports[0].Port != 10001 || ports[1].Port != 8443 || !ports[1].Sticky || ports[0].Sticky {
		t.Errorf("%+v", ports)
	}
	d.Labels["HAPROXY_0_BALANCE"], d.Labels["HAPROXY_1_STICKY"], d.Labels["HAPROXY_1_BALANCE"] = "source", "false", "leastconn"
	if ports := d.Balanced(); !ports[0].Sticky || ports[1].Sticky {
		t.Errorf("by their source: %+v", ports)
	}
	spec, annotations := d.VirtualHosts("s")
	var hosts []string
	for _, r := range spec.Rules {
		hosts = append(hosts, r.Host+r.HTTP.Paths[0].Path)
	}
	if diff := cmp.Diff([]string{"a.test/x", "b.test/x", "c.test/"}, hosts); diff != "" {
		t.Error(diff)
	}
	if len(spec.TLS) != 2 || spec.TLS[1].SecretName != "shop" || spec.TLS[0].SecretName != "front" || annotations["trireme.dev/https-redirect"] != "true" || annotations["trireme.dev/certificate"] != "" {
		t.Errorf("%+v %v", spec.TLS, annotations)
	}
	const both = `{"id": "/a", "cmd": "x", "portDefinitions": [{}, {}], "labels": {"HAPROXY_GROUP": "x", "HAPROXY_0_VHOST": "a.test", "HAPROXY_0_REDIRECT_TO_HTTPS": "true", "HAPROXY_0_PORT": "1"`
	if _, annotations := good(t, both+`}}`).VirtualHosts("s"); annotations["trireme.dev/certificate"] != "cluster" {
		t.Errorf("a certificate of the cluster's: %v", annotations)
	}
	if _, err := parse(t, both+`, "HAPROXY_1_PORT": "2", "HAPROXY_1_VHOST": "b.test", "HAPROXY_1_SSL_CERT": "own"}}`); err == nil {
		t.Error("the cluster's certificate beside one's own is taken")
	}
	if spec, _ := good(t, `{"id": "/a", "cmd": "x", "labels": {"HAPROXY_0_VHOST": "a.test"}}`).VirtualHosts("s"); spec != nil {
		t.Errorf("without a group: %+v", spec)
	}
	a, err := good(t, `{"id": "/a", "cmd": "x", "labels": {"AS_TRIGGER_MODE": "cpu", "AS_MAX_RANGE": "75.0", "AS_MAX_INSTANCES": "9", "AS_MIN_INSTANCES": "2"}}`).Autoscaler()
	if err != nil || a.MaxReplicas != 9 || *a.MinReplicas != 2 || *a.Metrics[0].Resource.Target.AverageUtilization != 75 {
		t.Errorf("%v %+v", err, a)
	}
	if _, err := parse(t, `{"id": "/a", "cmd": "x", "labels": {"AS_TRIGGER_MODE": "sqs"}}`); err == nil {
		t.Error("a mode that is not known is taken")
	}
}
