package mesos

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
)

func held(t *testing.T, l resource.List) (out []Message[*mesosv1.Resource]) {
	t.Helper()
	for _, m := range l.Messages(true) {
		out = append(out, Message[*mesosv1.Resource]{m})
	}
	return out
}

func TestTotal(t *testing.T) {
	n := &corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{"cpu": apiresource.MustParse("8"), "memory": apiresource.MustParse("1Gi"), "ephemeral-storage": apiresource.MustParse("100Mi")}}}
	parse := func(text string) resource.List {
		l, err := resource.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	dynamic := resource.Reservation{Dynamic: true, Role: "eng"}
	volume := parse("disk:10").Reserve(dynamic)
	volume[0].Volume = &resource.Volume{ID: "v", ContainerPath: "v"}
	for _, c := range []struct {
		own, reserved resource.List
		want          string
	}{
		{nil, nil, "cpus:8; mem:1024; disk:100; ports:[31000-32000]"},
		{parse("cpus(ads):2;ports:[80-90];bandwidth:5;mem:512"), nil, "cpus:6; cpus(ads):2; mem:512; disk:100; ports:[80-90]; bandwidth:5"},
		{nil, parse("cpus:1").Reserve(dynamic).Plus(volume), "cpus:7; cpus(reservations: [(DYNAMIC,eng)]):1; mem:1024; disk:90; disk(reservations: [(DYNAMIC,eng)])[v]:v:10; ports:[31000-32000]"},
		{parse("cpus(eng):3"), parse("cpus(eng):1").Reserve(resource.Reservation{Dynamic: true, Role: "eng/dev"}), "cpus:5; cpus(eng):2; cpus(reservations: [(STATIC,eng),(DYNAMIC,eng/dev)]):1; mem:1024; disk:100; ports:[31000-32000]"},
	} {
		a := &Agent{Spec: AgentSpec{Resources: held(t, c.own), Reserved: held(t, c.reserved)}}
		if got := Total(n, a).String(); got != c.want {
			t.Errorf("%s beside and %s reserved:\n%s, want\n%s", c.own, c.reserved, got, c.want)
		}
		if name, _ := resource.Name("bandwidth"); Beside(n, a).Extended[name] != c.own.Scalar("bandwidth") {
			t.Errorf("beside the node: %v", Beside(n, a))
		}
	}
}
