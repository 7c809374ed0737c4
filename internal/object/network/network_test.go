package network

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

func TestDefinition(t *testing.T) {
	if _, err := Definition(); err != nil {
		t.Fatal(err)
	}
}

func TestSelections(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       "",
		"red":                                    "default/red@net1",
		" red , default/blue@b0 ":                "default/red@net1 default/blue@b0",
		`[{"name":"red","ips":["10.0.9.2/24"]}]`: "default/red@net1=10.0.9.2",
		"red,red":                                "error: named twice",
		"other/red":                              "other/red@net1",
		"red@eth0":                               "error: interface eth0 is taken",
		"red@a b":                                "error: no name for an interface",
		"red@sixteen-letters-":                   "error: no name for an interface",
		",":                                      "error: without a name",
		"[{":                                     "error: no list of JSON objects",
		`[{"name":"red","ips":["x"]}]`:           "error: no address",
		`[{"name":"red","default-route":["x"]}]`: "error: default-route",
	} {
		p := &corev1.Pod{}
		p.Namespace, p.Annotations = "default", map[string]string{Annotation: in}
		all, err := Selections(p)
		var got []string
		for _, s := range all {
			text := s.Key.String() + "@" + s.Interface
			for _, a := range s.IPs {
				text += "=" + a.String()
			}
			got = append(got, text)
		}
		part, fails := strings.CutPrefix(want, "error: ")
		if fails != (err != nil) || fails && !strings.Contains(err.Error(), part) || !fails && strings.Join(got, " ") != want {
			t.Errorf("%q is %v, %v; want %q", in, got, err, want)
		}
	}
}

// TestOuts: a pod leaves by the network whose gateway it names, one that is on its
// networks only else by the first that is not internal.
func TestOuts(t *testing.T) {
	known := map[string]*Network{
		"shut": {Spec: Spec{Internal: true, Subnets: []Subnet{{CIDR: "10.0.7.0/24"}}}},
		"red":  {Spec: Spec{Subnets: []Subnet{{CIDR: "10.0.8.0/24"}}}},
		"both": {Spec: Spec{Subnets: []Subnet{{CIDR: "10.0.9.0/24"}, {CIDR: "fd00:9::/64"}}}},
	}
	const here = -1 // the cluster's network
	for _, c := range []struct {
		networks, only string
		four, six      int
	}{
		{"red,both", "", here, here},
		{"red,both", "false", here, here},
		{"shut,red,both,missing", "true", 1, 2},
		{"shut", "true", here, here},
		{`[{"name":"red"},{"name":"both","default-route":["10.0.9.1"]}]`, "", 1, here},
		{`[{"name":"red"},{"name":"both","default-route":["10.0.9.1"]}]`, "true", 1, 1},
		{`[{"name":"red"},{"name":"both","default-route":["fd00:9::1"]}]`, "true", 0, 1},
		{`[{"name":"red","default-route":["10.0.8.9"]}]`, "", here, here},
	} {
		p := &corev1.Pod{}
		p.Namespace, p.Annotations = "default", map[string]string{Annotation: c.networks, OnlyAnnotation: c.only}
		asked, err := Selections(p)
		if err != nil {
			t.Fatal(err)
		}
		out := Outs(p, asked, func(key object.Key) *Network { return known[key.Name] })
		for f, want := range map[corev1.IPFamily]int{corev1.IPv4Protocol: c.four, corev1.IPv6Protocol: c.six} {
			got, ok := out[f]
			if !ok {
				got = here
			}
			if got != want {
				t.Errorf("%s, only %q: %s leaves by %d, want %d", c.networks, c.only, f, got, want)
			}
		}
	}
	for networks, only := range map[string]string{"": "true", "red": "yes"} {
		p := &corev1.Pod{}
		p.Annotations = map[string]string{Annotation: networks, OnlyAnnotation: only}
		if _, err := Selections(p); err == nil || !strings.Contains(err.Error(), OnlyAnnotation) {
			t.Errorf("networks %q, only %q: %v", networks, only, err)
		}
	}
}

func TestPools(t *testing.T) {
	for in, want := range map[Subnet]string{
		{CIDR: "10.0.9.7/24"}: "10.0.9.0/24 10.0.9.1 10.0.9.0/24",
		{CIDR: "10.0.9.0/24", Gateway: "10.0.9.254", IPRange: "10.0.9.128/25"}: "10.0.9.0/24 10.0.9.254 10.0.9.128/25",
		{CIDR: "10.0.9.0"}:                            "error: .cidr: ",
		{CIDR: "2001:db8::5/64"}:                      "2001:db8::/64 2001:db8::1 2001:db8::/64",
		{CIDR: "2001:db8::/127"}:                      "error: between 32 and 126 bits",
		{CIDR: "::ffff:10.0.9.0/120"}:                 "error: write it as IPv4",
		{CIDR: "fe80::/64"}:                           "error: is not routed",
		{CIDR: "169.254.9.0/24"}:                      "error: is not routed",
		{CIDR: "10.0.9.0/31"}:                         "error: between 8 and 30 bits",
		{CIDR: "10.0.9.0/24", Gateway: "10.0.8.1"}:    "error: .gateway: ",
		{CIDR: "10.0.9.0/24", IPRange: "10.0.0.0/16"}: "error: .ipRange: ",
	} {
		n := &Network{Spec: Spec{Subnets: []Subnet{in}}}
		pools, err := n.Pools()
		part, fails := strings.CutPrefix(want, "error: ")
		switch {
		case fails != (err != nil) || fails && !strings.Contains(err.Error(), part):
			t.Errorf("%v: %v, want %q", in, err, want)
		case !fails:
			if got := pools[0].Prefix.String() + " " + pools[0].Gateway.String() + " " + pools[0].Range.String(); got != want {
				t.Errorf("%v is %s, want %s", in, got, want)
			}
		}
	}
}

// TestFamilies: a network has at most one subnet of a family.
func TestFamilies(t *testing.T) {
	four, six := Subnet{CIDR: "10.0.9.0/24"}, Subnet{CIDR: "fd00:9::/64"}
	for _, c := range []struct {
		subnets []Subnet
		want    string
	}{
		{[]Subnet{six, four}, ""},
		{[]Subnet{four, {CIDR: "10.0.8.0/24"}}, "spec.subnets[1].cidr"},
		{[]Subnet{six, four, six}, "spec.subnets[2].cidr"},
		{nil, "at least one"},
	} {
		_, err := (&Network{Spec: Spec{Subnets: c.subnets}}).Pools()
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.subnets, err, c.want)
		}
	}
	pools, err := (&Network{Spec: Spec{Subnets: []Subnet{{CIDR: "10.0.9.0/30"}, {CIDR: "fd00:9::/126"}}}}).Pools()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"10.0.9.0": false, "10.0.9.1": false, "10.0.9.2": true, "10.0.9.3": false,
		"fd00:9::": false, "fd00:9::1": false, "fd00:9::3": true, "fd00:9::4": false,
	} {
		a := netip.MustParseAddr(text)
		if got := pools[0].Usable(a) || pools[1].Usable(a); got != want {
			t.Errorf("%s is usable: %t", a, got)
		}
	}
}

// TestOpen: the ports of a pod that are reached, and the namespaces that a network is for.
func TestOpen(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
		{ContainerPort: 80, Protocol: corev1.ProtocolTCP}, {ContainerPort: 81, HostPort: 8081, Protocol: corev1.ProtocolTCP},
	}}}}}
	for in, want := range map[string]string{"": "81/tcp", "53/udp, 80/tcp": "81/tcp 53/udp 80/tcp", "http": "error: no port", "80": "error: no port", "0/tcp": "error: no port"} {
		p.Annotations = map[string]string{PortsAnnotation: in}
		all, err := OpenPorts(p)
		var got []string
		for _, port := range all {
			got = append(got, port.String())
		}
		part, fails := strings.CutPrefix(want, "error: ")
		if fails != (err != nil) || fails && !strings.Contains(err.Error(), part) || !fails && strings.Join(got, " ") != want {
			t.Errorf("%q: %v, %v; want %s", in, got, err, want)
		}
	}
	n := &Network{}
	n.Namespace = "a"
	for in, want := range map[string]bool{"": false, "b": true, "c, b": true, "*": true, "bb": false} {
		n.Annotations = map[string]string{NamespacesAnnotation: in}
		if n.Open("b") != want || !n.Open("a") {
			t.Errorf("open to %q: b %t, a %t", in, n.Open("b"), n.Open("a"))
		}
	}
}
