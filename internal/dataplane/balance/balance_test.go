package balance

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func backends(n ...int) []netip.AddrPort {
	var all []netip.AddrPort
	for _, i := range n {
		all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 128, byte(i >> 8), byte(i)}), 80))
	}
	return all
}

func upTo(n int) []int {
	var all []int
	for i := range n {
		all = append(all, i)
	}
	return all
}

var (
	web  = Front{Addr: netip.MustParseAddr("10.96.0.1"), Proto: 6, Port: 80}
	mesh = Front{Proto: 6, Port: 80}
)

func TestAChangeCostsWhatItChanges(t *testing.T) {
	tab := NewTable()
	set := func(b []netip.AddrPort) *Changes {
		tab.Set("service/default/web", []Pool{{Name: "default/web:http", Proto: 6, Fronts: []Front{web}, Backends: b}})
		return tab.Take()
	}
	if c := set(backends(upTo(1000)...)); len(c.Slots) != 1000 || len(c.Fronts) != 1 {
		t.Fatalf("first: %d slots, %d fronts", len(c.Slots), len(c.Fronts))
	}
	if c := set(backends(upTo(1000)...)); !c.Empty() {
		t.Fatalf("nothing changed, but %v", c)
	}
	all := upTo(1000)
	all = slices.Delete(all, 10, 11)
	c := set(backends(all...))
	want := map[Slot]Change[netip.AddrPort]{
		{web, 10}:  {backends(10)[0], backends(999)[0]},
		{web, 999}: {Old: backends(999)[0]},
	}
	if diff := cmp.Diff(want, c.Slots, compare); diff != "" {
		t.Errorf("one of a thousand gone: slots (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[Front]Change[Shape]{web: {Shape{Do: Random, Size: 1000}, Shape{Do: Random, Size: 999}}}, c.Fronts, compare); diff != "" {
		t.Errorf("one of a thousand gone: fronts (-want +got):\n%s", diff)
	}
	if c := set(backends(append(all, 5000)...)); len(c.Slots) != 1 || len(c.Fronts) != 1 {
		t.Errorf("one more: %d slots, %d fronts", len(c.Slots), len(c.Fronts))
	}
}

var compare = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// apply is what the kernel does with changes.
func apply(t *testing.T, fronts map[Front]Shape, slots map[Slot]netip.AddrPort, c *Changes) {
	t.Helper()
	for f, v := range c.Fronts {
		if fronts[f] != v.Old {
			t.Fatalf("front %v is %v, the change says it was %v", f, fronts[f], v.Old)
		}
		if fronts[f] = v.New; v.New == (Shape{}) {
			delete(fronts, f)
		}
	}
	for s, v := range c.Slots {
		if slots[s] != v.Old {
			t.Fatalf("slot %v is %v, the change says it was %v", s, slots[s], v.Old)
		}
		if slots[s] = v.New; !v.New.IsValid() {
			delete(slots, s)
		}
	}
}

// Whatever came before, the sum of the changes is what All says, and every slot
// below a front's size has a backend.
func FuzzChangesAddUp(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 200, 100, 50, 3, 3, 3})
	f.Add([]byte{0, 0, 0, 1, 255, 1, 0, 7, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		tab, fronts, slots := NewTable(), map[Front]Shape{}, map[Slot]netip.AddrPort{}
		for ; len(in) >= 3; in = in[3:] {
			owner := fmt.Sprint("service/default/", in[0]%3)
			p := Pool{Name: owner, Rank: int64(in[0] % 2), Proto: 6, Affinity: in[0]&64 != 0, Drop: in[0]&128 != 0, Backends: bits(in[1])}
			for i, f := range []Front{web, mesh, {Proto: 6, Port: 1}} {
				if in[2]>>i&1 != 0 {
					p.Fronts = append(p.Fronts, f)
				}
			}
			if in[2]&8 != 0 {
				tab.Set(owner, nil)
			} else {
				tab.Set(owner, []Pool{p})
			}
			if in[2]&16 == 0 {
				apply(t, fronts, slots, tab.Take())
			}
		}
		apply(t, fronts, slots, tab.Take())
		allFronts, allSlots := map[Front]Shape{}, map[Slot]netip.AddrPort{}
		apply(t, allFronts, allSlots, tab.All())
		if diff := cmp.Diff(allFronts, fronts, compare); diff != "" {
			t.Fatalf("fronts (-all +added up):\n%s", diff)
		}
		if diff := cmp.Diff(allSlots, slots, compare); diff != "" {
			t.Fatalf("slots (-all +added up):\n%s", diff)
		}
		count := 0
		for f, s := range fronts {
			for i := range s.Size {
				if !slots[Slot{f, uint32(i)}].IsValid() {
					t.Fatalf("front %v has %d backends, none in slot %d", f, s.Size, i)
				}
				count++
			}
		}
		if count != len(slots) {
			t.Fatalf("%d slots, %d of them in use", len(slots), count)
		}
	})
}

func bits(b byte) []netip.AddrPort {
	var n []int
	for i := range 8 {
		if b>>i&1 != 0 {
			n = append(n, i)
		}
	}
	return backends(n...)
}

func TestTwoClaimOneFront(t *testing.T) {
	tab := NewTable()
	claim := func(owner string, rank int64, n int) {
		tab.Set(owner, []Pool{{Name: owner, Rank: rank, Proto: 6, Fronts: []Front{mesh}, Backends: backends(n)}})
	}
	holder := func() string { return tab.All().Names[mesh] }
	claim("b", 2, 1)
	claim("a", 3, 2)
	if got := holder(); got != "b" {
		t.Errorf("%q has the front, want the older one", got)
	}
	tab.Take()
	tab.Set("b", nil)
	c := tab.Take()
	if c.Names[mesh] != "a" || c.Slots[Slot{mesh, 0}].New != backends(2)[0] {
		t.Errorf("the other did not get the front: %v", c)
	}
}

func TestLocals(t *testing.T) {
	tab, a := NewTable(), netip.MustParseAddr("10.128.0.2")
	tab.SetLocal("pod/default/old", a)
	tab.SetLocal("pod/default/new", a)
	tab.Take()
	tab.SetLocal("pod/default/old", netip.Addr{})
	if c := tab.Take(); !c.Empty() {
		t.Errorf("the new pod has the address still, but %v", c.Locals)
	}
	tab.SetLocal("pod/default/new", netip.Addr{})
	if c := tab.Take(); !c.Locals[a].Old || c.Locals[a].New {
		t.Errorf("nobody has the address, but %v", c.Locals)
	}
}

func ptr[T any](v T) *T { return &v }

func slice(es ...discoveryv1.Endpoint) []*discoveryv1.EndpointSlice {
	return []*discoveryv1.EndpointSlice{{
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: es,
		Ports: []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(80))}, {Name: ptr("other"), Port: ptr(int32(81))}},
	}}
}

func endpoint(n int, node string, ready, serving, ending bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses: []string{backends(n)[0].Addr().String()}, NodeName: &node,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &ending},
	}
}

// via is a pool whose clients inside the cluster get n backends of the cluster address.
func via(p Pool, n int) Pool {
	p.Via = Via{web, n}
	return p
}

func TestService(t *testing.T) {
	base := func(f func(*corev1.Service)) *corev1.Service {
		s := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.1",
				Ports: []corev1.ServicePort{{Name: "http", Port: 80, NodePort: 30080}},
			},
		}
		f(s)
		return s
	}
	in := func(b []netip.AddrPort, drop bool) Pool {
		return Pool{Name: "default/web:http", Proto: 6, Fronts: []Front{web}, Backends: b, Drop: drop}
	}
	out := func(b []netip.AddrPort, drop bool, f ...Front) Pool {
		return Pool{Name: "default/web:http (outside)", Proto: 6, Fronts: f, Backends: b, Drop: drop}
	}
	node, vip := Front{Proto: 6, Port: 30080}, Front{Addr: netip.MustParseAddr("198.51.100.7"), Proto: 6, Port: 80}
	here, there := endpoint(1, "here", true, true, false), endpoint(2, "there", true, true, false)
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		eps  []*discoveryv1.EndpointSlice
		want []Pool
	}{
		{"cluster address", base(func(s *corev1.Service) {}), slice(here, there), []Pool{in(backends(1, 2), false)}},
		{"no endpoints", base(func(s *corev1.Service) {}), nil, []Pool{in(nil, false)}},
		{"headless", base(func(s *corev1.Service) { s.Spec.ClusterIP = "None" }), slice(here), nil},
		{"external name", base(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }), nil, nil},
		{"not ready, ending", base(func(s *corev1.Service) {}),
			slice(endpoint(1, "here", false, false, false), endpoint(2, "here", false, true, true)), []Pool{in(backends(2), false)}},
		{"ready before ending", base(func(s *corev1.Service) {}),
			slice(endpoint(1, "here", true, true, false), endpoint(2, "here", false, true, true)), []Pool{in(backends(1), false)}},
		{"conditions unknown", base(func(s *corev1.Service) {}),
			slice(discoveryv1.Endpoint{Addresses: []string{"10.128.0.1"}}), []Pool{in(backends(1), false)}},
		{"inside local", base(func(s *corev1.Service) {
			s.Spec.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal)
		}), slice(here, there), []Pool{in(backends(1), true)}},
		{"node port", base(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }), slice(here, there),
			[]Pool{in(backends(1, 2), false), out(backends(1, 2), false, node)}},
		{"mesh, local outside", base(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {IP: "198.51.100.7"}, {Hostname: "x"}}
		}), slice(here, there), []Pool{in(backends(1, 2), false), via(out(backends(1), true, node, mesh, vip), 2)}},
		{"another load balancer's class", base(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.LoadBalancerClass = corev1.ServiceTypeLoadBalancer, ptr("example.com/x")
		}), slice(here), []Pool{in(backends(1), false), out(backends(1), false, node)}},
		{"external addresses", base(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"198.51.100.7", "2001:db8::1"} }), slice(here),
			[]Pool{in(backends(1), false), out(backends(1), false, vip)}},
	} {
		v := View{Family: corev1.IPv4Protocol, Node: "here", IsNode: func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.1") }}
		got := v.Service(c.svc, c.eps)
		for i := range got {
			got[i].Rank = 0
		}
		if diff := cmp.Diff(c.want, got, compare, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestHostPorts(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Status: corev1.PodStatus{PodIP: "10.128.0.1"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
			{ContainerPort: 80}, {ContainerPort: 80, HostPort: 8080}, {ContainerPort: 53, HostPort: 53, HostIP: "127.0.0.1", Protocol: corev1.ProtocolUDP},
		}}}},
	}
	got := HostPorts(pod, netip.MustParseAddr("10.128.0.1"))
	if len(got) != 2 || got[0].Fronts[0] != (Front{Proto: 6, Port: 8080}) ||
		got[1].Fronts[0] != (Front{Addr: netip.MustParseAddr("127.0.0.1"), Proto: 17, Port: 53}) || got[0].Backends[0] != backends(1)[0] {
		t.Errorf("%+v", got)
	}
	pod.Spec.HostNetwork = true
	if got := HostPorts(pod, netip.MustParseAddr("10.128.0.1")); got != nil {
		t.Errorf("a pod of the host's network: %+v", got)
	}
}

func BenchmarkOneOfThousandEndpoints(b *testing.B) {
	tab := NewTable()
	all := backends(upTo(1000)...)
	for i := range b.N {
		less := slices.Delete(slices.Clone(all), i%1000, i%1000+1)
		tab.Set("service/default/web", []Pool{{Name: "w", Proto: 6, Fronts: []Front{web, mesh}, Backends: less}})
		tab.Take()
	}
}

// Fronts that answer the same clients share what says so; it goes with the last one.
func TestGuardsAreShared(t *testing.T) {
	tab := NewTable()
	office := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")}
	set := func(owner string, port uint16, from ...netip.Prefix) {
		tab.Set(owner, []Pool{{Name: owner, Proto: 6, Fronts: []Front{{Proto: 6, Port: port}}, From: from}})
	}
	took := func(what string, fronts, added, gone int) {
		t.Helper()
		if c := tab.Take(); len(c.Guards) != fronts || len(c.NewGuards) != added || len(c.GoneGuards) != gone {
			t.Errorf("%s: %d fronts, %d guards more, %v gone; want %d, %d, %d", what, len(c.Guards), len(c.NewGuards), c.GoneGuards, fronts, added, gone)
		}
	}
	set("a", 80, office...)
	set("b", 81, office[1], office[0])
	set("c", 82)
	took("two with the same ranges in another order", 2, 1, 0)
	set("a", 80, office...)
	took("nothing", 0, 0, 0)
	set("a", 80, office[0])
	took("one has its own", 1, 1, 0)
	set("b", 81)
	took("the other has none", 1, 0, 1)
	set("b", 81, office...)
	set("b", 81, office[0])
	took("it joins the first", 1, 0, 0)
	if c := tab.All(); len(c.Guards) != 2 || len(c.NewGuards) != 1 || len(c.GoneGuards) != 0 {
		t.Errorf("all anew: %v %v %v", c.Guards, c.NewGuards, c.GoneGuards)
	}
	tab.Set("a", nil)
	tab.Set("b", nil)
	took("both go", 2, 0, 1)
}

// Clients may stay with the backends of fronts with affinity, and of no others.
func TestWhereClientsStay(t *testing.T) {
	tab := NewTable()
	have := map[Stick]bool{}
	set := func(what string, affinity bool, b ...int) {
		t.Helper()
		tab.Set("web", []Pool{{Name: "web", Proto: 6, Fronts: []Front{web, mesh}, Backends: backends(b...), Affinity: affinity, Stick: 60}})
		for s, v := range tab.Take().Sticky {
			if have[s] != v.Old || v.Old == v.New {
				t.Errorf("%s: %v was %t, is said to change from %t to %t", what, s, have[s], v.Old, v.New)
			}
			if have[s] = v.New; !v.New {
				delete(have, s)
			}
		}
		want := 0
		if affinity {
			want = 2 * len(b)
		}
		for _, at := range backends(b...) {
			if have[Stick{web, at}] != affinity || have[Stick{mesh, at}] != affinity || len(have) != want {
				t.Errorf("%s: clients stay with %v", what, have)
			}
		}
	}
	set("the start", true, 1, 2, 3)
	set("one goes, one comes", true, 1, 3, 4)
	set("no affinity", false, 1, 3)
	set("affinity again", true, 3, 5)
	tab.Set("web", nil)
	if c := tab.Take(); len(c.Sticky) != 4 {
		t.Errorf("the service goes: %v", c.Sticky)
	}
}

// Hints keep traffic on the node, or in its zone, if all endpoints have them and one
// is for us.
func TestHints(t *testing.T) {
	nodes := func(names ...string) *discoveryv1.EndpointHints {
		h := &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z"}}}
		for _, n := range names {
			h.ForNodes = append(h.ForNodes, discoveryv1.ForNode{Name: n})
		}
		return h
	}
	zones := func(names ...string) *discoveryv1.EndpointHints {
		h := &discoveryv1.EndpointHints{}
		for _, n := range names {
			h.ForZones = append(h.ForZones, discoveryv1.ForZone{Name: n})
		}
		return h
	}
	for name, tt := range map[string]struct {
		zone  string
		hints []*discoveryv1.EndpointHints
		want  []int
	}{
		"none":                      {"z", []*discoveryv1.EndpointHints{nil, nil}, []int{0, 1}},
		"one has none":              {"z", []*discoveryv1.EndpointHints{zones("z"), nil}, []int{0, 1}},
		"our zone":                  {"z", []*discoveryv1.EndpointHints{zones("z"), zones("y"), zones("y", "z")}, []int{0, 2}},
		"other zones":               {"x", []*discoveryv1.EndpointHints{zones("z"), zones("y")}, []int{0, 1}},
		"we have no zone":           {"", []*discoveryv1.EndpointHints{zones("z"), zones("y")}, []int{0, 1}},
		"our node":                  {"z", []*discoveryv1.EndpointHints{nodes("here"), nodes("there")}, []int{0}},
		"other nodes of our zone":   {"z", []*discoveryv1.EndpointHints{nodes("there"), nodes("there")}, []int{0, 1}},
		"nodes for some, our zone":  {"z", []*discoveryv1.EndpointHints{nodes("here"), zones("z"), zones("y")}, []int{0, 1}},
		"other nodes, another zone": {"y", []*discoveryv1.EndpointHints{nodes("there"), nodes("there")}, []int{0, 1}},
	} {
		s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: new(int32)}}}
		*s.Ports[0].Port = 80
		for i, h := range tt.hints {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{backends(i)[0].Addr().String()}, Hints: h})
		}
		v := View{Family: corev1.IPv4Protocol, Node: "here", Zone: tt.zone, IsNode: func(netip.Addr) bool { return false }}
		svc := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 80}}}}
		got := v.Service(svc, []*discoveryv1.EndpointSlice{s})[0].Backends
		if !slices.Equal(got, backends(tt.want...)) {
			t.Errorf("%s: %v, want %v", name, got, backends(tt.want...))
		}
	}
}
