package swarm

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
)

func TestPlace(t *testing.T) {
	for _, tc := range []struct{ name, stack, want string }{
		{"web", "", "default/web"},
		{"shop_web", "shop", "shop/web"},
		{"Web_1", "", "default/web-1-"},
		{"1st", "", "default/s1st-"},
		{strings.Repeat("a", 63), "", "default/" + strings.Repeat("a", 39) + "-"},
		{"My_Shop_web", "My_Shop", "my-shop-"},
	} {
		labels := map[string]string{}
		if tc.stack != "" {
			labels[StackLabel] = tc.stack
		}
		got := Place(tc.name, labels)
		if s := got.String(); s != tc.want && !(strings.HasSuffix(tc.want, "-") && strings.HasPrefix(s, tc.want)) {
			t.Errorf("%s of stack %q is at %s, want %s", tc.name, tc.stack, s, tc.want)
		}
		if len(got.Name) > nameMax {
			t.Errorf("%s is %d characters long", got.Name, len(got.Name))
		}
	}
	if Place("a_b", nil) == Place("a-b", nil) {
		t.Error("two names have one place")
	}
}

func TestID(t *testing.T) {
	for uid, want := range map[types.UID]string{
		"00000000-0000-0000-0000-000000000001": "0000000000000000000000001",
		"ffffffff-ffff-ffff-ffff-ffffffffffff": "f5lxx1zz5pnorynqglhzmsp33",
		"no uid":                               "",
	} {
		if got := ID(uid); got != want {
			t.Errorf("the id of %s is %q, want %q", uid, got, want)
		}
	}
}

// TestCheck: what cannot be run is refused by the name of its field.
func TestCheck(t *testing.T) {
	for spec, want := range map[string]string{
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web:1"}}}`:  "",
		`{"Name":"-web","TaskTemplate":{"ContainerSpec":{"Image":"web:1"}}}`: "Name",
		`{"Name":"web"}`: "TaskTemplate.Runtime",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{}}}`:                                                                                                                                                             "TaskTemplate.ContainerSpec.Image",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","User":"bob"}}}`:                                                                                                                                     "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Env":["A"]}}}`:                                                                                                                                      "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Env":["A={{.No}}"]}}}`:                                                                                                                              "TaskTemplate.ContainerSpec.Env[0]",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Hostname":"{{.Node.Hostname}}"}}}`:                                                                                                                  "TaskTemplate.ContainerSpec.Hostname",
		`{"Name":"web","Mode":{"Global":{}},"TaskTemplate":{"ContainerSpec":{"Image":"i","Hostname":"{{.Node.Hostname}}"}}}`:                                                                                             "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Env":["A={{.Node.Hostname}}"]}}}`:                                                                                                                   "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"},"Placement":{"Constraints":["node.x==1"]}}}`:                                                                                                        "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"},"Placement":{"Constraints":["node.role=boss"]}}}`:                                                                                                   "TaskTemplate.Placement.Constraints[0]",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"},"Placement":{"MaxReplicas":2}}}`:                                                                                                                    "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Mounts":[{"Type":"volume","Source":"v","Target":"/v"}]}}}`:                                                                                          "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Mounts":[{"Target":"/v"},{"Target":"/v"}]}}}`:                                                                                                       "Mounts[1].Target",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"}},"Mode":{"GlobalJob":{}}}`:                                                                                                                          "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"}},"Mode":{"GlobalJob":{},"Global":{}}}`:                                                                                                              "Mode",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"}},"Mode":{"GlobalJob":{}},"UpdateConfig":{}}`:                                                                                                        "UpdateConfig",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"}},"Mode":{"ReplicatedJob":{}},"RollbackConfig":{}}`:                                                                                                  "RollbackConfig",
		`{"Name":"web","Labels":{"trireme.dev/schedule":"@hourly"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}`:                                                                                                      "trireme.dev/schedule",
		`{"Name":"web","Mode":{"Replicated":{"Replicas":4294967296}},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}`:                                                                                                    "Mode.Replicated.Replicas",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Healthcheck":{"Test":["CMD","x"],"Retries":4294967296}}}}`:                                                                                          "Healthcheck.Retries",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Healthcheck":{"Test":["CMD","x"],"Interval":9223372036854775807}}}}`:                                                                                "Healthcheck.Interval",
		`{"Name":"web","Mode":{"ReplicatedJob":{"TotalCompletions":18446744073709551615}},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}`:                                                                               "Mode.ReplicatedJob.TotalCompletions",
		`{"Name":"web","Mode":{"Replicated":{"Replicas":1000000}},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}`:                                                                                                       "",
		`{"Name":"web","Labels":{"trireme.dev/drain":"update-order"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}`:                                                                                                    "",
		`{"Name":"web","Labels":{"trireme.dev/drain":"slowly"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}`:                                                                                                          "trireme.dev/drain",
		`{"Name":"web","Labels":{"trireme.dev/rebalance":"slowly"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}`:                                                                                                      "trireme.dev/rebalance",
		`{"Name":"web","Labels":{"trireme.dev/rebalance":"max=2,pause=10s"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}`:                                                                                             "",
		`{"Name":"web","Labels":{"trireme.dev/drain":"update-order"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}},"Mode":{"Global":{}}}`:                                                                               "trireme.dev/drain",
		`{"Name":"web","Labels":{"trireme.dev/autoscale":"min=2,max=5,cpu=70"},"TaskTemplate":{"ContainerSpec":{"Image":"i"},"Resources":{"Reservations":{"NanoCPUs":100000000}}},"Mode":{"Replicated":{"Replicas":1}}}`: "",
		`{"Name":"web","Labels":{"trireme.dev/autoscale":"min=2,max=5,cpu=70"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}},"Mode":{"Replicated":{"Replicas":1}}}`:                                                     "Resources.Reservations",
		`{"Name":"web","Labels":{"trireme.dev/autoscale":"min=2,disk=1"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}},"Mode":{"Replicated":{"Replicas":1}}}`:                                                           "min, max, cpu and memory",
		`{"Name":"web","Labels":{"trireme.dev/schedule":"often"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}},"Mode":{"GlobalJob":{}}}`:                                                                                "trireme.dev/schedule",
		`{"Name":"web","Labels":{"trireme.dev/schedule":"TZ=Nowhere * * * * *"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}},"Mode":{"GlobalJob":{}}}`:                                                                 "trireme.dev/schedule",
		`{"Name":"web","Labels":{"trireme.dev/schedule":"TZ=Europe/Vienna 30 2 * * *"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}},"Mode":{"GlobalJob":{}}}`:                                                          "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"},"Resources":{"Limits":{"MemoryBytes":4096}}}}`:                                                                                                      "TaskTemplate.Resources.Limits.MemoryBytes",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"},"Resources":{"Reservations":{"NanoCPUs":1000}}}}`:                                                                                                   "TaskTemplate.Resources.Reservations.NanoCPUs",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"},"RestartPolicy":{"Delay":-1}}}`:                                                                                                                     "TaskTemplate.RestartPolicy.Delay",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Healthcheck":{"Test":["CMD","x"],"Interval":1000}}}}`:                                                                                               "TaskTemplate.ContainerSpec.Healthcheck.Interval",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"}},"UpdateConfig":{"MaxFailureRatio":2}}`:                                                                                                             "UpdateConfig.MaxFailureRatio",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"}},"RollbackConfig":{"FailureAction":"rollback"}}`:                                                                                                    "RollbackConfig.FailureAction",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"}},"EndpointSpec":{"Ports":[{"TargetPort":70000}]}}`:                                                                                                  "EndpointSpec.Ports[0].TargetPort",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"}},"EndpointSpec":{"Mode":"dnsrr","Ports":[{"TargetPort":80}]}}`:                                                                                      "EndpointSpec.Ports[0]",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Secrets":[{"SecretID":"a","SecretName":"a"}]}}}`:                                                                                                    "Secrets[0].File",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Configs":[{"ConfigID":"a","ConfigName":"a","Runtime":{}}]}}}`:                                                                                       "Configs[0].File",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Secrets":[{"File":{"Name":"a"}}]}}}`:                                                                                                                "Secrets[0]",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Secrets":[` + secretAt("a", "bob") + `]}}}`:                                                                                                         "Secrets[0].File",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Secrets":[` + secretAt("../a", "0") + `]}}}`:                                                                                                        "Secrets[0].File.Name",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Secrets":[` + secretAt("a", "0") + `,` + secretAt("/run/secrets/a", "0") + `]}}}`:                                                                   "conflicting target",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Secrets":[` + secretAt("a", "1000") + `]}}}`:                                                                                                        "",
		`{"Name":"web","Labels":{"trireme.dev/follow-content":"yes"},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}`:                                                                                                    "Labels[",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Env":["=b"]}}}`:                                                                                                                                     "Env[0]",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Ulimits":[{"Name":"rtprio","Soft":1,"Hard":1}]}}}`:                                                                                                  "rtprio",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Ulimits":[{"Name":"nofile","Soft":2,"Hard":1}]}}}`:                                                                                                  "ulimits[0]",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Ulimits":[{"Name":"nofile","Soft":1,"Hard":-1}]}}}`:                                                                                                 "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","OomScoreAdj":500}}}`:                                                                                                                                "OomScoreAdj",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","OomScoreAdj":500},"Resources":{"Reservations":{"MemoryBytes":8388608}}}}`:                                                                           "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","StopSignal":"SIGNOPE"}}}`:                                                                                                                           "StopSignal",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","StopSignal":"RTMIN+3"}}}`:                                                                                                                           "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Privileges":{"Seccomp":{"Mode":"custom","Profile":"e30K"}}}}}`:                                                                                      "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Privileges":{"Seccomp":{"Mode":"custom","Profile":"e30KfQ=="}}}}}`:                                                                                  "Seccomp",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"},"Resources":{"Reservations":{"GenericResources":[{"DiscreteResourceSpec":{"Kind":"fpga","Value":2}}]}}}}`:                                           "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"},"Resources":{"Reservations":{"GenericResources":[{"NamedResourceSpec":{"Kind":"fpga","Value":"a"}}]}}}}`:                                            "GenericResources[0]",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Mounts":[` + volumeOf(`"Name":"rexray"`) + `]}}}`:                                                                                                   "DriverConfig.Name",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Mounts":[` + volumeOf(`"Options":{"type":"nfs","o":"addr=192.0.2.1,ro","device":":/x"}`) + `]}}}`:                                                   "",
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Mounts":[` + volumeOf(`"Options":{"type":"nfs","o":"addr=192.0.2.1,soft","device":":/x"}`) + `]}}}`:                                                 `"soft"`,
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Mounts":[` + volumeOf(`"Options":{"type":"ext4","device":"/dev/sda"}`) + `]}}}`:                                                                     `"ext4"`,
	} {
		s := &Service{}
		if err := json.Unmarshal([]byte(spec), &s.Spec); err != nil {
			t.Fatal(err)
		}
		err := s.Check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", spec, err, want)
		}
	}
}

func volumeOf(driver string) string {
	return `{"Type":"volume","Source":"v","Target":"/v","VolumeOptions":{"DriverConfig":{` + driver + `}}}`
}

func secretAt(target, uid string) string {
	return `{"SecretID":"id","SecretName":"s","File":{"Name":"` + target + `","UID":"` + uid + `","Mode":256}}`
}

// TestBeyond: what Kubernetes has no field for is in an annotation that agents read, and
// nothing of it where it is not asked for.
func TestBeyond(t *testing.T) {
	annotation := func(container string) string {
		s := &Service{}
		if err := json.Unmarshal([]byte(`{"Name":"web","TaskTemplate":{"ContainerSpec":`+container+`,"Resources":{"Limits":{"Pids":9}}}}`), &s.Spec); err != nil {
			t.Fatal(err)
		}
		p, err := s.Template(Task{Slot: "1"})
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{ObjectMeta: p.ObjectMeta}
		if _, err := object.OptionsOf(pod, ContainerName); err != nil {
			t.Errorf("%s: agents refuse it: %v", container, err)
		}
		return p.Annotations["container.trireme.dev/task"]
	}
	for container, want := range map[string]string{
		`{"Image":"i","Healthcheck":{"Test":["NONE"]}}`:       `{"pidsMax":9}`,
		`{"Image":"i","Healthcheck":{"Test":["CMD","true"]}}`: `{"pidsMax":9}`,
		`{"Image":"i"}`: `{"pidsMax":9,"imageHealth":{"end":true}}`,
		`{"Image":"i","Healthcheck":{"Interval":2000000000,"Retries":4}}`:                   `{"pidsMax":9,"imageHealth":{"end":true,"interval":2000000000,"retries":4}}`,
		`{"Image":"i","Init":true,"User":"bob:1","Groups":["wheel","3"],"Env":["A","B=c"]}`: `{"init":true,"pidsMax":9,"user":"bob:1","groups":["wheel"],"unset":["A"],"imageHealth":{"end":true}}`,
		`{"Image":"i","User":"1:2","Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}]}`:        `{"ulimits":[{"name":"nofile","soft":1,"hard":2}],"pidsMax":9,"imageHealth":{"end":true}}`,
	} {
		if got := annotation(container); got != want {
			t.Errorf("%s: %s, want %s", container, got, want)
		}
	}
}

// TestFiles: secrets and configs are mounted one by one, where their user wants them and
// as whose.
func TestFiles(t *testing.T) {
	s := &Service{}
	spec := `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i","Env":["A=b"],"Secrets":[` + secretAt("a", "7") + `],"Configs":[{"ConfigID":"c","ConfigName":"c","File":{"Name":"c"}}]}}}`
	if err := json.Unmarshal([]byte(spec), &s.Spec); err != nil {
		t.Fatal(err)
	}
	p, err := s.Template(Task{Slot: "1", Files: []Given{{Name: "s", Key: "data"}, {Config: true, Name: "c", Key: "k"}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range p.Spec.Containers[0].VolumeMounts {
		got = append(got, m.Name+"/"+m.SubPath+" at "+m.MountPath)
	}
	for i, src := range p.Spec.Volumes[0].Projected.Sources {
		if i == 0 {
			got = append(got, "secret "+src.Secret.Name+" "+src.Secret.Items[0].Key)
		} else {
			got = append(got, "config "+src.ConfigMap.Name+" "+src.ConfigMap.Items[0].Key)
		}
	}
	got = append(got, p.Annotations["trireme.dev/file-owners.files"])
	want := `files/0 at /run/secrets/a, files/1 at /c, secret s data, config c k, {"0":"7:0"}`
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	files := []File{{Object: &corev1.Secret{}, Data: []byte("se")}, {Config: true, Object: &corev1.ConfigMap{}, Data: []byte(`{{secret "a"}}{{env "A"}}{{.Task.Slot}}`)}}
	if text, err := s.Render(Task{Slot: "3"}, files, 1); err != nil || string(text) != "seb3" {
		t.Errorf("rendered: %q, %v", text, err)
	}
	files[1].Data = []byte(`{{secret "none"}}`)
	if _, err := s.Render(Task{Slot: "3"}, files, 1); err == nil || !strings.Contains(err.Error(), "Configs[0]") {
		t.Errorf("a template with a secret that is not there: %v", err)
	}
}

// TestGeneration: labels, replicas, update rules and constraints want no new tasks.
func TestGeneration(t *testing.T) {
	base := `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web:1"}}}`
	generation := func(spec string) string {
		s := &Service{}
		if err := json.Unmarshal([]byte(spec), &s.Spec); err != nil {
			t.Fatal(err)
		}
		return s.Generation()
	}
	for spec, same := range map[string]bool{
		`{"Name":"web","Labels":{"a":"b"},"TaskTemplate":{"ContainerSpec":{"Image":"web:1"}},"Mode":{"Replicated":{"Replicas":3}}}`: true,
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web:1"},"Placement":{"Constraints":["node.role==worker"]}}}`:       true,
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web:1"},"RestartPolicy":{"Condition":"none"}}}`:                    true,
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web:2"}}}`:                                                         false,
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web:1"},"ForceUpdate":1}}`:                                         false,
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web:1"}},"EndpointSpec":{"Ports":[{"TargetPort":80}]}}`:            false,
	} {
		if got := generation(spec) == generation(base); got != same {
			t.Errorf("%s: the same generation: %v", spec, got)
		}
	}
}

// TestConstraints: values are compared regardless of case, labels by their case; what
// nothing is known of is met by no node.
func TestConstraints(t *testing.T) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "Left", UID: "00000000-0000-0000-0000-00000000000a", Labels: map[string]string{"Disk": "SSD", EnginePrefix + "gpu": "a100", ManagerLabel: ""},
	}}
	n.Status.NodeInfo = corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64"}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.1.2.3"}}
	for text, want := range map[string]bool{
		"node.labels.Disk==ssd": true, "node.labels.disk==ssd": false, "node.labels.disk!=ssd": true, "node.labels.Disk!=Ssd": false,
		"node.hostname==left": true, "node.id==000000000000000000000000A": true, "node.role == manager": true, "node.role!=manager": false,
		"node.platform.os==Linux": true, "node.platform.arch==x86_64": true, "node.platform.arch!=arm64": true,
		"node.ip==10.1.2.3": true, "node.ip==10.1.0.0/16": true, "node.ip!=10.1.0.0/16": false, "node.ip==10.2.0.0/16": false, "node.ip!=nowhere": false,
		"engine.labels.gpu==A100": true, "engine.labels.tpu!=x": true, "node.colour==blue": false, "node.colour!=blue": false,
	} {
		p := &Placement{Constraints: []string{text}}
		if err := p.parse(); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := p.Fits(n); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for platform, want := range map[string]bool{"linux/x86_64": true, "linux/": true, "/amd64": true, "linux/arm64": false, "windows/amd64": false} {
		if got := (&Placement{Platforms: []string{platform}}).Runs(n); got != want {
			t.Errorf("%s: %v, want %v", platform, got, want)
		}
	}
}
