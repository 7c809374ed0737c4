package filter_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"trireme/internal/dataplane/filter"
	"trireme/internal/object/peers"
)

func key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: name}
}

// node is a table and the kernel that follows it.
type node struct {
	t *testing.T
	*filter.Table
	sets   map[string]map[filter.Element]bool
	chains map[string]filter.Chain
	pods   [2]map[netip.Addr]string
}

func newNode(t *testing.T) *node {
	n := &node{t: t, Table: filter.NewTable(false)}
	n.wipe()
	return n
}

func (n *node) wipe() {
	n.sets, n.chains = map[string]map[filter.Element]bool{}, map[string]filter.Chain{}
	n.pods = [2]map[netip.Addr]string{{}, {}}
}

func (n *node) pod(name, addr string, labels map[string]string, ports ...corev1.ContainerPort) {
	n.SetPod(key(name), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels, UID: types.UID(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: ports}}},
	}, netip.MustParseAddr(addr))
}

func (n *node) policy(name, spec string) peers.Policy {
	n.t.Helper()
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		n.t.Fatal(err)
	}
	n.SetPolicy(key(name), p)
	return peers.Read(p)
}

// commit does what a kernel does with the changes, as strictly.
func (n *node) commit(c *filter.Changes) {
	n.t.Helper()
	for _, s := range c.Sets {
		if n.sets[s.Name] != nil {
			n.t.Errorf("set %s is made twice", s.Name)
		}
		n.sets[s.Name] = map[filter.Element]bool{}
		for _, e := range s.Elements {
			n.sets[s.Name][e] = true
		}
	}
	for _, ch := range c.Chains {
		if _, ok := n.chains[ch.Name]; ok {
			n.t.Errorf("chain %s is made twice", ch.Name)
		}
		for _, r := range ch.Rules {
			if _, ok := n.chains[r.Then]; r.Then != "" && !ok {
				n.t.Errorf("chain %s jumps to %s, which is not there", ch.Name, r.Then)
			}
			if r.Set != "" && n.sets[r.Set] == nil {
				n.t.Errorf("chain %s asks %s, which is not there", ch.Name, r.Set)
			}
		}
		n.chains[ch.Name] = ch
	}
	for way := range c.Pods {
		for a, v := range c.Pods[way] {
			if n.pods[way][a] != v.Old {
				n.t.Errorf("%s was led to %q, is said to have been to %q", a, n.pods[way][a], v.Old)
			}
			if delete(n.pods[way], a); v.New != "" {
				n.pods[way][a] = v.New
			}
		}
	}
	for name, d := range c.Elements {
		for _, e := range d.Del {
			if !n.sets[name][e] {
				n.t.Errorf("%v leaves %s without having been there", e, name)
			}
			delete(n.sets[name], e)
		}
		for _, e := range d.Add {
			if n.sets[name] == nil || n.sets[name][e] {
				n.t.Errorf("%v comes to %s twice, or to no set", e, name)
			}
			n.sets[name][e] = true
		}
	}
	for _, name := range c.GoneChains {
		delete(n.chains, name)
	}
	for _, ch := range n.chains {
		for _, r := range ch.Rules {
			if _, ok := n.chains[r.Then]; r.Then != "" && !ok {
				n.t.Errorf("chain %s is left with a jump to %s", ch.Name, r.Then)
			}
		}
	}
	for _, name := range c.GoneSets {
		delete(n.sets, name)
	}
}

// passes says what the kernel would do with a packet to or from a pod of the node.
func (n *node) passes(way filter.Way, pod, other string, proto uint8, port uint16) bool {
	name, ok := n.pods[way][netip.MustParseAddr(pod)]
	return !ok || n.accepts(n.chains[name], netip.MustParseAddr(other), proto, port)
}

func (n *node) accepts(c filter.Chain, other netip.Addr, proto uint8, port uint16) bool {
	for _, r := range c.Rules {
		in := r.Set == ""
		for e := range n.sets[r.Set] {
			in = in || e.Addr == other && (e.Port == 0 || e.Proto == proto && e.Port == port) ||
				r.Kind == filter.Ranges && !other.Less(e.Addr) && !e.Last.Less(other)
		}
		fits := in && (r.Proto == 0 || r.Proto == proto) && (r.First == 0 || r.First <= port && port <= r.Last)
		if fits && (r.Then == "" || n.accepts(n.chains[r.Then], other, proto, port)) {
			return true
		}
	}
	return false
}

func one(p peers.Policy) string {
	for id := range p.Groups() {
		return id
	}
	return ""
}

func TestVerdicts(t *testing.T) {
	const pod, peer, nobody = "10.128.1.2", "10.128.2.2", "10.128.3.3"
	const tcp, udp, icmp, sctp = 6, 17, 1, 132
	type packet struct {
		other string
		proto uint8
		port  uint16
		want  bool
	}
	tests := []struct {
		name, spec string
		way        filter.Way
		packets    []packet
	}{
		{"nothing", "{podSelector: {}}", filter.In, []packet{{peer, tcp, 80, false}, {peer, icmp, 0, false}}},
		{"the other way is free", "{podSelector: {}}", filter.Out, []packet{{peer, tcp, 80, true}}},
		{"another pod's", "{podSelector: {matchLabels: {app: x}}}", filter.In, []packet{{peer, tcp, 80, true}}},
		{"everything", "{podSelector: {}, ingress: [{}]}", filter.In, []packet{{peer, tcp, 80, true}, {nobody, icmp, 0, true}}},
		{"peers", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {a: b}}}]}]}", filter.In,
			[]packet{{peer, tcp, 80, true}, {peer, icmp, 0, true}, {nobody, tcp, 80, false}}},
		{"peers and ports", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {a: b}}}], ports: [{port: 80}, {port: 53, protocol: UDP}, {port: 9, protocol: SCTP}]}]}", filter.In,
			[]packet{{peer, tcp, 80, true}, {peer, udp, 53, true}, {peer, sctp, 9, true}, {peer, tcp, 53, false}, {peer, udp, 80, false}, {nobody, tcp, 80, false}}},
		{"ports of anybody", "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}", filter.In,
			[]packet{{nobody, tcp, 80, true}, {nobody, tcp, 81, false}, {nobody, udp, 80, false}}},
		{"a protocol", "{podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}", filter.In,
			[]packet{{nobody, udp, 1, true}, {nobody, tcp, 1, false}}},
		{"a range", "{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}]}]}", filter.In,
			[]packet{{peer, tcp, 80, true}, {peer, tcp, 90, true}, {peer, tcp, 79, false}, {peer, tcp, 91, false}}},
		{"a name", "{podSelector: {}, ingress: [{ports: [{port: http}]}]}", filter.In,
			[]packet{{peer, tcp, 8080, true}, {peer, udp, 8080, false}, {peer, tcp, 80, false}}},
		{"a name that the pod does not have", "{podSelector: {}, ingress: [{ports: [{port: https}]}]}", filter.In,
			[]packet{{peer, tcp, 8080, false}}},
		{"the receiver's name", "{podSelector: {}, egress: [{to: [{podSelector: {matchLabels: {a: b}}}], ports: [{port: http}]}]}", filter.Out,
			[]packet{{peer, tcp, 9090, true}, {peer, tcp, 8080, false}, {nobody, tcp, 9090, false}}},
		{"addresses", "{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.128.2.0/24, 10.1.0.0/16]}}, {ipBlock: {cidr: 'fd00::/8'}}]}]}", filter.Out,
			[]packet{{nobody, tcp, 1, true}, {"10.0.0.0", tcp, 1, true}, {"10.255.255.255", tcp, 1, true}, {peer, tcp, 1, false}, {"11.0.0.0", tcp, 1, false}, {"10.1.2.3", tcp, 1, false}}},
		{"all addresses", "{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", filter.Out,
			[]packet{{nobody, tcp, 1, true}, {"255.255.255.255", udp, 1, true}}},
		{"one address", "{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 255.255.255.255/32}}, {ipBlock: {cidr: 10.128.3.3/32}}]}]}", filter.Out,
			[]packet{{nobody, tcp, 1, true}, {"255.255.255.255", udp, 1, true}, {peer, tcp, 1, false}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.pod("a", pod, map[string]string{"app": "a"}, corev1.ContainerPort{Name: "http", ContainerPort: 8080})
			p := n.policy("p", tt.spec)
			for id, g := range p.Groups() {
				m := peers.Member{Address: netip.MustParseAddr(peer)}
				if g.Port != "" {
					m.Protocol, m.Port = g.Protocol, 9090
				}
				n.SetPart(id, "n2", []peers.Member{m})
			}
			n.commit(n.Take())
			for _, is := range tt.packets {
				if got := n.passes(tt.way, pod, is.other, is.proto, is.port); got != is.want {
					t.Errorf("%v passes: %t", is, got)
				}
			}
		})
	}
}

// A pod that comes to a group is one element; replicas share a chain; nothing is left
// when the policies are gone.
func TestChangesAreSmall(t *testing.T) {
	n := newNode(t)
	for i := range 3 {
		n.pod(fmt.Sprint("web-", i), fmt.Sprintf("10.128.1.%d", 2+i), map[string]string{"app": "web"})
	}
	p := n.policy("p", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}, {port: 81}]}]}")
	id := one(p)
	var members []peers.Member
	for i := range 50 {
		members = append(members, peers.Member{Address: netip.AddrFrom4([4]byte{10, 128, 2, byte(i)})})
	}
	n.SetPart(id, "n2", members)
	c := n.Take()
	n.commit(c)
	if len(c.Chains) != 2 || len(c.Sets) != 1 || len(c.Sets[0].Elements) != 50 || len(c.Pods[filter.In]) != 3 {
		t.Fatalf("three replicas of one policy: %+v", c)
	}
	more := func(what string, want string, f func()) {
		t.Helper()
		f()
		c := n.Take()
		n.commit(c)
		if got := fmt.Sprintln(len(c.Chains), len(c.Sets), len(c.Pods[filter.In]), len(c.GoneChains), len(c.GoneSets), elements(c)); got != want+"\n" {
			t.Errorf("%s: chains, sets, pods, gone chains and sets, elements: %s, want %s", what, got, want)
		}
	}
	more("nothing", "0 0 0 0 0 []", func() {})
	more("a member more", "0 0 0 0 0 [+10.128.2.99]", func() {
		n.SetPart(id, "n2", append(members, peers.Member{Address: netip.MustParseAddr("10.128.2.99")}))
	})
	more("a member less", "0 0 0 0 0 [-10.128.2.0 -10.128.2.99]", func() { n.SetPart(id, "n2", members[1:]) })
	more("one moves", "0 0 0 0 0 []", func() {
		n.SetPart(id, "n2", members[2:])
		n.SetPart(id, "n3", members[1:2])
	})
	more("a replica more", "0 0 1 0 0 []", func() { n.pod("web-9", "10.128.1.9", map[string]string{"app": "web"}) })
	more("a status", "0 0 0 0 0 []", func() { n.pod("web-9", "10.128.1.9", map[string]string{"app": "web"}) })
	more("a pod whose address a younger one has", "0 0 0 0 0 []", func() { n.pod("zzz", "10.128.1.9", map[string]string{"app": "web"}) })
	more("another policy", "1 1 5 1 0 []", func() {
		n.pod("web-10", "10.128.1.10", map[string]string{"app": "web"})
		n.policy("q", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}")
	})
	n.wipe()
	n.commit(n.All())
	if !n.passes(filter.In, "10.128.1.2", "10.128.2.7", 6, 80) || n.passes(filter.In, "10.128.1.2", "10.128.2.0", 6, 80) {
		t.Error("a kernel that is told all anew judges otherwise")
	}
	n.SetPolicy(key("p"), nil)
	n.SetPolicy(key("q"), nil)
	n.commit(n.Take())
	if len(n.chains)+len(n.sets)+len(n.pods[0])+len(n.pods[1]) > 0 {
		t.Errorf("left: %v %v %v", n.chains, n.sets, n.pods)
	}
}

func elements(c *filter.Changes) string {
	var out []string
	for _, d := range c.Elements {
		for _, e := range d.Add {
			out = append(out, "+"+e.Addr.String())
		}
		for _, e := range d.Del {
			out = append(out, "-"+e.Addr.String())
		}
	}
	slices.Sort(out)
	return "[" + strings.Join(out, " ") + "]"
}
