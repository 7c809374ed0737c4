package peers_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"trireme/internal/object/peers"
)

func read(t *testing.T, namespace, spec string) peers.Policy {
	t.Helper()
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "p"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return peers.Read(p)
}

func TestWays(t *testing.T) {
	tests := []struct {
		spec    string
		in, out bool
	}{
		{"{podSelector: {}}", true, false},
		{"{podSelector: {}, egress: [{}]}", true, true},
		{"{podSelector: {}, policyTypes: [Ingress], egress: [{}]}", true, false},
		{"{podSelector: {}, policyTypes: [Egress], ingress: [{}]}", false, true},
		{"{podSelector: {}, policyTypes: [Egress, Ingress]}", true, true},
	}
	for _, tt := range tests {
		if p := read(t, "a", tt.spec); p.In != nil != tt.in || p.Out != nil != tt.out {
			t.Errorf("%s: in %v, out %v", tt.spec, p.In, p.Out)
		}
	}
}

func TestSelects(t *testing.T) {
	p := read(t, "a", "{podSelector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: NotIn, values: [x]}]}}")
	for _, tt := range []struct {
		namespace string
		labels    map[string]string
		want      bool
	}{
		{"a", map[string]string{"app": "web"}, true},
		{"b", map[string]string{"app": "web"}, false},
		{"a", map[string]string{"app": "web", "tier": "x"}, false},
		{"a", nil, false},
	} {
		if got := p.Selects(tt.namespace, tt.labels); got != tt.want {
			t.Errorf("%s %v: %t", tt.namespace, tt.labels, got)
		}
	}
}

// Groups that say the same are one; others are not.
func TestGroupsAreShared(t *testing.T) {
	in := func(peer string) string { return "{podSelector: {}, ingress: [{from: [" + peer + "]}]}" }
	one := func(namespace, spec string) string {
		p := read(t, namespace, spec)
		for id := range p.Groups() {
			return id
		}
		t.Fatalf("%s names no group", spec)
		return ""
	}
	same := [][2]string{
		{in("{podSelector: {matchLabels: {a: x, b: y}}}"), in("{podSelector: {matchLabels: {b: y, a: x}}}")},
		{in("{namespaceSelector: {}}"), in("{namespaceSelector: {}, podSelector: {}}")},
		{in("{podSelector: {}}"), "{podSelector: {}, egress: [{to: [{podSelector: {}}]}]}"},
	}
	for _, s := range same {
		if one("a", s[0]) != one("a", s[1]) {
			t.Errorf("%s and %s are two groups", s[0], s[1])
		}
	}
	other := []string{
		in("{podSelector: {}}"), in("{namespaceSelector: {}}"), in("{podSelector: {matchLabels: {a: x}}}"),
		in("{namespaceSelector: {matchLabels: {a: x}}}"), in("{namespaceSelector: {}, podSelector: {matchLabels: {a: x}}}"),
		"{podSelector: {}, egress: [{ports: [{port: http}]}]}", "{podSelector: {}, egress: [{ports: [{port: http, protocol: UDP}]}]}",
		"{podSelector: {}, egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]}",
	}
	seen := map[string]string{one("b", other[0]): "the same of namespace b"}
	for _, s := range other {
		if was := seen[one("a", s)]; was != "" {
			t.Errorf("%s and %s are one group", s, was)
		}
		seen[one("a", s)] = s
	}
	if one("a", other[1]) != one("b", other[1]) {
		t.Error("a group of all namespaces depends on the policy's")
	}
}

// Names of ports in an egress rule are the peers': the rest of the rule stays.
func TestNamedPortsOfReceivers(t *testing.T) {
	p := read(t, "a", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: http}, {port: 53, protocol: UDP}]}]}")
	if len(p.Out.Rules) != 2 {
		t.Fatalf("%d rules, want 2", len(p.Out.Rules))
	}
	numbered, named := p.Out.Rules[0], p.Out.Rules[1]
	if len(numbered.Groups) != 1 || len(numbered.Blocks) != 1 || len(numbered.Ports) != 1 || numbered.Ports[0].First != 53 {
		t.Errorf("rule of the port by number: %+v", numbered)
	}
	if len(named.Groups) != 1 || named.Groups[0].Port != "http" || named.Groups[0].Protocol != corev1.ProtocolTCP || len(named.Blocks)+len(named.Ports) > 0 {
		t.Errorf("rule of the port by name: %+v", named)
	}
	if p = read(t, "a", "{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: http}]}]}"); len(p.Out.Rules) != 0 {
		t.Errorf("addresses have no named ports, but are allowed: %+v", p.Out.Rules)
	}
}

func TestPartKeepsItsMembers(t *testing.T) {
	in := &peers.Part{
		ObjectMeta: metav1.ObjectMeta{Namespace: "0123", Name: "node-1", UID: "u", ResourceVersion: "7"},
		Members: []peers.Member{
			{Address: netip.MustParseAddr("10.128.1.2")}, {Address: netip.MustParseAddr("fd00::2")},
			{Address: netip.MustParseAddr("10.128.1.3"), Protocol: corev1.ProtocolSCTP, Port: 8080},
			{Address: netip.MustParseAddr("fd00::3"), Protocol: corev1.ProtocolUDP, Port: 53},
		},
	}
	b, err := in.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var out peers.Part
	if err := out.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(in, &out, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func FuzzPart(f *testing.F) {
	b, err := (&peers.Part{Members: []peers.Member{{Address: netip.MustParseAddr("10.128.1.3"), Protocol: corev1.ProtocolUDP, Port: 1}}}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, again peers.Part
		if p.Unmarshal(b) != nil {
			return
		}
		b, err := p.Marshal()
		if err == nil {
			err = again.Unmarshal(b)
		}
		if err != nil || len(p.Members) != len(again.Members) {
			t.Fatalf("%v: %v then %v", err, p, again)
		}
	})
}
