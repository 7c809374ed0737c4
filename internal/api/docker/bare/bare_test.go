package bare

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"trireme/internal/object"
	"trireme/internal/object/network"
	ours "trireme/internal/object/swarm"
)

func request(t *testing.T, text string) *container.CreateRequest {
	t.Helper()
	req := &container.CreateRequest{}
	if err := json.Unmarshal([]byte(text), req); err != nil {
		t.Fatal(err)
	}
	return req
}

// A request is a pod that a gate holds, and the pod gives the request back.
func TestPod(t *testing.T) {
	p, err := Container{ID: "0123", Name: "My_box", CreateRequest: request(t, `{"Image": "app", "Entrypoint": [""], "Cmd": ["run", "{{x}}"], "Env": ["A={{.B}}"], "Tty": true, "OpenStdin": true,
		"Labels": {"trireme.dev/namespace": "team", "trireme.dev/node": "n1"}, "ExposedPorts": {"9/udp": {}}, "Volumes": {"/v": {}},
		"HostConfig": {"Binds": ["/src:/dst:ro,rslave", "data:/data"], "Tmpfs": {"/t": "size=1m"}, "PortBindings": {"80/tcp": [{"HostIp": "10.0.0.1", "HostPort": "8080"}]},
			"RestartPolicy": {"Name": "on-failure"}, "Privileged": true, "NetworkMode": "host", "PidMode": "host", "Memory": 1048576, "CpuQuota": 50000, "ShmSize": 4096,
			"ExtraHosts": ["db:10.0.0.2"], "SecurityOpt": ["no-new-privileges"]}}`)}.Pod()
	if err != nil {
		t.Fatal(err)
	}
	c := p.Spec.Containers[0]
	got, err := json.Marshal([]any{
		p.Labels["swarm.trireme.dev/volumes"], p.Namespace, p.Annotations[NameAnnotation], p.Spec.SchedulingGates, p.Spec.RestartPolicy, p.Spec.HostNetwork, p.Spec.HostPID, p.Spec.HostAliases, p.Spec.Tolerations,
		c.Command, c.Args, c.Env, c.TTY, c.Stdin, c.Ports, c.VolumeMounts, c.Resources.Limits, *c.SecurityContext.Privileged,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"true","team","My_box",[{"name":"docker.trireme.dev/start"}],"OnFailure",true,true,[{"ip":"10.0.0.2","hostnames":["db"]}],null`,
		`["run","{{x}}"],null,[{"name":"A","value":"{{.B}}"}],true,true`, `{"hostPort":8080,"containerPort":80,"protocol":"TCP","hostIP":"10.0.0.1"}`,
		`"readOnly":true,"mountPath":"/dst"`, `"mountPath":"/data"`, `"mountPath":"/t"`, `"mountPath":"/dev/shm"`, `"mountPath":"/v"`, `{"cpu":"500m","memory":"1Mi"},true`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("the pod has no %s in %s", want, got)
		}
	}
	back, ok := Request(p)
	if !ok || back.Config.Cmd[1] != "{{x}}" || back.HostConfig.Memory != 1048576 {
		t.Errorf("the request came back as %+v", back)
	}
}

// Ports without a number are the scheduler's to choose; --publish-all asks the image too,
// and on the node's network nothing is published.
func TestPublish(t *testing.T) {
	exposed := func(image string) ([]string, error) {
		if image == "app" {
			return []string{"53/udp", "80/tcp"}, nil
		}
		return nil, errors.New("no such image")
	}
	for name, x := range map[string]struct{ request, chosen, ports string }{
		"a number and none": {`{"Image": "app", "ExposedPorts": {"9/tcp": {}}, "HostConfig": {"PortBindings": {"70/tcp": [{"HostPort": "7000"}, {"HostIp": "127.0.0.1"}], "80/udp": [{"HostPort": "0"}]}}}`,
			`[{"containerPort":70,"protocols":["TCP"],"address":"127.0.0.1"},{"containerPort":80,"protocols":["UDP"]}]`, `[{"hostPort":7000,"containerPort":70,"protocol":"TCP"},{"containerPort":9,"protocol":"TCP"}]`},
		"all": {`{"Image": "app", "ExposedPorts": {"9/tcp": {}}, "HostConfig": {"PublishAllPorts": true, "PortBindings": {"80/tcp": [{"HostPort": "8000"}]}}}`,
			`[{"containerPort":53,"protocols":["UDP"]},{"containerPort":9,"protocols":["TCP"]}]`, `[{"hostPort":8000,"containerPort":80,"protocol":"TCP"}]`},
		"the node's network": {`{"Image": "other", "HostConfig": {"NetworkMode": "host", "PublishAllPorts": true, "PortBindings": {"80/tcp": [{}]}}}`, "", "null"},
	} {
		p, err := Container{ID: "0", Name: "a", CreateRequest: request(t, x.request), Exposed: exposed}.Pod()
		if err != nil {
			t.Fatal(name, err)
		}
		if got := p.Annotations[object.DynamicPortsAnnotation]; got != x.chosen {
			t.Errorf("%s: to be chosen: %s; want %s", name, got, x.chosen)
		}
		if got, _ := json.Marshal(p.Spec.Containers[0].Ports); string(got) != x.ports {
			t.Errorf("%s: ports %s; want %s", name, got, x.ports)
		}
	}
	if _, err := (Container{ID: "0", Name: "a", CreateRequest: request(t, `{"Image": "other", "HostConfig": {"PublishAllPorts": true}}`), Exposed: exposed}).Pod(); err == nil || err.Error() != "no such image" {
		t.Errorf("all ports of an image that is nowhere: %v", err)
	}
}

// What a pod cannot be is an error that names the field.
func TestPodRefuses(t *testing.T) {
	for field, text := range map[string]string{
		"Config.Image":                               "{}",
		"HostConfig.NetworkMode":                     `{"Image": "a", "HostConfig": {"NetworkMode": "container:x"}}`,
		"HostConfig.PortBindings[80/tcp].HostPort":   `{"Image": "a", "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8000-8010"}]}}}`,
		"HostConfig.Binds[0]":                        `{"Image": "a", "HostConfig": {"Binds": ["/a:/b:never"]}}`,
		"HostConfig.Tmpfs[/t]":                       `{"Image": "a", "HostConfig": {"Tmpfs": {"/t": "noexec"}}}`,
		"HostConfig.SecurityOpt[0]":                  `{"Image": "a", "HostConfig": {"SecurityOpt": ["label=disable"]}}`,
		"HostConfig.RestartPolicy.MaximumRetryCount": `{"Image": "a", "HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}}`,
		"HostConfig.AutoRemove":                      `{"Image": "a", "HostConfig": {"AutoRemove": true, "RestartPolicy": {"Name": "always"}}}`,
		"HostConfig.DeviceRequests[0]":               `{"Image": "a", "HostConfig": {"DeviceRequests": [{"Driver": "other", "Count": 1}]}}`,
		"HostConfig.MemorySwap":                      `{"Image": "a", "HostConfig": {"Memory": 1, "MemorySwap": 2}}`,
		"StopSignal":                                 `{"Image": "a", "StopSignal": "LOUD"}`,
		"NetworkingConfig.EndpointsConfig[n].Mac":    `{"Image": "a", "NetworkingConfig": {"EndpointsConfig": {"n": {"MacAddress": "02:00:00:00:00:01"}}}}`,
	} {
		if _, err := (Container{ID: "0", Name: "a", CreateRequest: request(t, text)}).Pod(); err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: %v; want an error of %s", text, err, field)
		}
	}
}

// A network is found for the pod's namespace; a container is known there by its names.
func TestNetworks(t *testing.T) {
	req := request(t, `{"Image": "a", "HostConfig": {"NetworkMode": "red"}, "NetworkingConfig": {"EndpointsConfig": {"red": {"Aliases": ["db"], "IPAMConfig": {"IPv4Address": "10.0.9.5"}}}}}`)
	c := Container{ID: "0", Name: "box", CreateRequest: req, Network: func(target, namespace string) (object.Key, error) {
		return object.Key{Namespace: namespace, Name: target + "-object"}, nil
	}}
	p, err := c.Pod()
	if err != nil {
		t.Fatal(err)
	}
	if a := p.Annotations; a[network.Annotation] != `[{"name":"red-object","namespace":"default","ips":["10.0.9.5"]}]` || a[network.NamesAnnotation] != "box,db" {
		t.Errorf("%v", a)
	}
	c.Network = func(string, string) (object.Key, error) { return object.Key{}, errors.New("network red not found") }
	if _, err := c.Pod(); err == nil || err.Error() != "network red not found" {
		t.Errorf("a network that is not there: %v", err)
	}
}

// TestVolumeOptions: a volume that was made with options is what they say, not a folder of
// the node.
func TestVolumeOptions(t *testing.T) {
	req := &container.CreateRequest{Config: &container.Config{Image: "i"}, HostConfig: &container.HostConfig{Binds: []string{"shared:/data"}}}
	var asked object.Key
	p, err := Container{ID: "a", Name: "box", CreateRequest: req, Volume: func(key object.Key) *ours.VolumeSpec {
		asked = key
		return &ours.VolumeSpec{Options: map[string]string{"type": "nfs", "o": "addr=192.0.2.1", "device": ":/export"}}
	}}.Pod()
	if err != nil {
		t.Fatal(err)
	}
	if v := p.Spec.Volumes[0]; v.NFS == nil || v.NFS.Server != "192.0.2.1" || v.NFS.Path != "/export" {
		t.Errorf("the volume is %+v", v)
	}
	if asked.String() != "default/shared" {
		t.Errorf("asked for %s", asked)
	}
}
