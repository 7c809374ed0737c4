package swarm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"trireme/internal/object"
	"trireme/internal/object/network"
	"trireme/internal/object/swarm"
)

// TestNetworks: what a task is attached to as its pod has it.
func TestNetworks(t *testing.T) {
	find := func(target string) (object.Key, bool) {
		return object.Key{Namespace: "shop", Name: target}, target != "nothing"
	}
	for text, want := range map[string]string{
		`[]`:                 " false",
		`[{"Target":"red"}]`: `[{"name":"red","namespace":"shop"}] true 80/tcp`,
		`[{"Target":"red"},{"Target":"blue","Aliases":["x"]}]`: `[{"name":"red","namespace":"shop"},{"name":"blue","namespace":"shop"}] true 80/tcp`,
		`[{"Target":"` + swarm.PredefinedID("host") + `"}]`:    " host",
		`[{"Target":"bridge"}]`:                                " false",
		`[{"Target":"none"}]`:                                  " none",
		`[{"Target":"ingress"}]`:                               "error: Networks[0].Target: Service cannot be explicitly attached to the ingress network",
		`[{"Target":"red"},{"Target":"host"}]`:                 "error: Networks[1].Target: a task that is on host is on no other",
		`[{"Target":"red","Aliases":["a.b"]}]`:                 "error: Networks[0].Aliases[0]",
		`[{"Target":"red","DriverOpts":{"a":"b"}}]`:            "error: Networks[0].DriverOpts",
		`[{"Target":"nothing"}]`:                               "error: Networks[0].Target: network nothing not found",
		`[{"Target":"red"}]` + "\x00red=10.0.9.5,fd00::5":      `[{"name":"red","namespace":"shop","ips":["10.0.9.5","fd00::5"]}] true 80/tcp`,
		`[{"Target":"red"}]` + "\x00blue=10.0.9.5":             "error: Labels[trireme.dev/ip.blue]: the service is not on network blue",
		`[{"Target":"red"}]` + "\x00red=x":                     "error: Labels[trireme.dev/ip.red]: \"x\" is no address",
	} {
		s := &swarm.Service{}
		text, address, _ := strings.Cut(text, "\x00")
		if name, ip, ok := strings.Cut(address, "="); ok {
			s.Spec.Labels = map[string]string{swarm.AddressLabel + name: ip}
		}
		spec := `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web:1"},"Networks":` + text + `},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishMode":"host","PublishedPort":80}]}}`
		if err := json.Unmarshal([]byte(spec), &s.Spec); err != nil {
			t.Fatal(err)
		}
		pod, err := s.Template(swarm.Task{Slot: "1", Network: find})
		if part, fails := strings.CutPrefix(want, "error: "); fails || err != nil {
			if err == nil || !strings.Contains(err.Error(), part) || !fails {
				t.Errorf("%s: %v, want %s", text, err, want)
			}
			continue
		}
		only := pod.Annotations[network.OnlyAnnotation]
		if only == "" {
			only = "false"
		}
		if pod.Spec.HostNetwork {
			only = "host"
		}
		got := strings.TrimRight(pod.Annotations[network.Annotation]+" "+only+" "+pod.Annotations[network.PortsAnnotation], " ")
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
