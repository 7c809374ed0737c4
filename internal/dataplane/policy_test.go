package dataplane

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/object/peers"
	"trireme/internal/orchestrate/peergroup"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// A ruled world has policies: the control loop works out their peers, and every
// machine hears of all of it.
type ruled struct {
	*world
	tables   *looptest.World
	loops    *loop.Runner
	machines []*machine
	policies map[string]*networkingv1.NetworkPolicy
	parts    map[types.NamespacedName]*peers.Part
}

func newRuled(t *testing.T, machines int) *ruled {
	r := &ruled{
		world: newWorld(t), tables: looptest.New(t, append(tables.All(), tables.Samples()...)),
		policies: map[string]*networkingv1.NetworkPolicy{}, parts: map[types.NamespacedName]*peers.Part{},
	}
	r.loops = r.tables.Runner(peergroup.New())
	r.tables.Put("{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {team: a}}}")
	for i := range machines {
		r.machines = append(r.machines, r.node(i+1))
	}
	for _, m := range r.machines {
		for _, n := range r.nodes {
			m.apply(false, n)
		}
	}
	return r
}

// pod makes a pod with labels, and a container port named http, on a machine.
func (r *ruled) pod(on int, name string, last int, labels map[string]string) *testPod {
	m := r.machines[on-1]
	p := m.pod(name, last)
	p.Pod = p.Pod.DeepCopy()
	p.Labels = labels
	p.Spec.Containers = []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}
	m.apply(false, p.Pod)
	r.tables.Update(func(tx *store.Tx) { tables.Pods.Put(tx, p.Pod.DeepCopy()) })
	r.spread()
	return p
}

// policy creates or replaces a policy.
func (r *ruled) policy(name, spec string) {
	r.t.Helper()
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	must(r.t, yaml.UnmarshalStrict([]byte(spec), &p.Spec))
	r.tables.Update(func(tx *store.Tx) { tables.NetworkPolicies.Put(tx, p.DeepCopy()) })
	r.policies[name] = p
	for _, m := range r.machines {
		m.apply(false, p)
	}
	r.spread()
}

func (r *ruled) drop(name string) {
	p := r.policies[name]
	delete(r.policies, name)
	r.tables.Delete(tables.NetworkPolicies.ID(), object.KeyOf(p))
	for _, m := range r.machines {
		m.remove(p)
	}
	r.spread()
}

// spread tells the machines which parts of groups changed.
func (r *ruled) spread() {
	r.tables.Settle(r.loops)
	now := map[types.NamespacedName]*peers.Part{}
	for p := range tables.PeerGroups.All(r.tables.Store.Head()) {
		now[keyOf(p)] = p
	}
	for _, m := range r.machines {
		for key, p := range now {
			if r.parts[key] != p {
				m.apply(false, p)
			}
		}
		for key, p := range r.parts {
			if now[key] == nil {
				m.remove(p)
			}
		}
	}
	r.parts = now
}

// silent fails unless nobody answers, and nobody refuses.
func silent(t testing.TB, ns netns.NsHandle, network, addr string) {
	t.Helper()
	const wait = 300 * time.Millisecond
	err := within(t, ns, func() error {
		c, err := net.DialTimeout(network, addr, wait)
		if err != nil {
			return err
		}
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(wait)))
		_, err = c.Write([]byte("?"))
		must(t, err)
		_, err = c.Read(make([]byte, 100))
		return err
	})
	if !isTimeout(err) {
		t.Fatalf("%s %s: %v, want silence", network, addr, err)
	}
}

func port(p *testPod, n int) string { return fmt.Sprintf("%s:%d", p.addr, n) }

func TestPoliciesOfReceivers(t *testing.T) {
	t.Parallel() // it waits for silence
	r := newRuled(t, 2)
	web := r.pod(1, "web", 2, map[string]string{"app": "web"})
	near, far := r.pod(1, "near", 3, nil), r.pod(2, "far", 3, map[string]string{"may": "call"})
	outside := r.host(200)
	one, two := r.machines[0], r.machines[1]
	svc := service("web", "10.96.1.1", corev1.ServiceTypeLoadBalancer, tcp(80, 30080), udp(80, 30081))
	for _, m := range r.machines {
		m.apply(false, svc, endpoints("web", web))
	}
	open := func() {
		t.Helper()
		for _, from := range []netns.NsHandle{near.ns, far.ns, one.ns, two.ns} {
			expect(t, from, "tcp4", port(web, 8080), "web")
		}
		expect(t, outside.ns, "tcp4", one.ip.String()+":80", "web")
	}
	open()

	// By default nothing, of no protocol, by no way; but the node itself, the pod
	// itself, and answers to the pod.
	r.policy("deny", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}")
	for _, from := range []netns.NsHandle{near.ns, far.ns} {
		silent(t, from, "tcp4", port(web, 8080))
		silent(t, from, "udp4", port(web, 8080))
		silent(t, from, "tcp4", "10.96.1.1:80")
		silent(t, from, "tcp4", one.ip.String()+":30080")
	}
	silent(t, two.ns, "tcp4", port(web, 8080))
	silent(t, outside.ns, "tcp4", one.ip.String()+":80")
	silent(t, outside.ns, "tcp4", two.ip.String()+":80")
	expect(t, one.ns, "tcp4", port(web, 8080), "web")
	expect(t, one.ns, "tcp4", "127.0.0.1:80", "web")
	expect(t, web.ns, "tcp4", "10.96.1.1:80", "web")
	expect(t, web.ns, "tcp4", port(far, 8080), "far")
	expect(t, web.ns, "udp4", port(near, 8080), "near")

	// Allowed by label, to a port by name; additive with the policy before.
	r.policy("label", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {may: call}}}], ports: [{port: http}]}]}")
	expect(t, far.ns, "tcp4", port(web, 8080), "web")
	expect(t, far.ns, "tcp4", "10.96.1.1:80", "web")
	silent(t, far.ns, "udp4", port(web, 8080))
	silent(t, near.ns, "tcp4", port(web, 8080))
	silent(t, web.ns, "tcp4", port(far, 8080)) // it is isolated now, too

	// Labels move: a pod loses what let it in, another gets it.
	relabel := func(on *machine, p *testPod, labels map[string]string) {
		p.Pod = p.Pod.DeepCopy()
		p.Labels = labels
		on.apply(false, p.Pod)
		r.tables.Update(func(tx *store.Tx) { tables.Pods.Put(tx, p.Pod.DeepCopy()) })
		r.spread()
	}
	relabel(two, far, nil)
	relabel(one, near, map[string]string{"may": "call"})
	silent(t, far.ns, "tcp4", port(web, 8080))
	expect(t, near.ns, "tcp4", port(web, 8080), "web")
	r.drop("label")
	silent(t, near.ns, "tcp4", port(web, 8080))

	// Several ports of two protocols; then a range.
	r.policy("ports", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 8079}, {port: 8080, protocol: UDP}]}]}")
	expect(t, far.ns, "udp4", port(web, 8080), "web")
	silent(t, far.ns, "tcp4", port(web, 8080))
	r.policy("ports", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 8000, endPort: 8079}, {port: 8081, endPort: 9000}]}]}")
	silent(t, far.ns, "tcp4", port(web, 8080))
	r.policy("ports", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 8000, endPort: 8080}]}]}")
	expect(t, far.ns, "tcp4", port(web, 8080), "web")
	silent(t, far.ns, "udp4", port(web, 8080))
	r.policy("ports", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{protocol: UDP}]}]}")
	expect(t, far.ns, "udp4", port(web, 8080), "web")
	silent(t, far.ns, "tcp4", port(web, 8080))

	// Addresses: the client outside, but for its neighbour.
	r.policy("ports", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16, except: [192.168.77.128/26]}}]}]}")
	expect(t, outside.ns, "tcp4", one.ip.String()+":80", "web")
	silent(t, r.host(130).ns, "tcp4", one.ip.String()+":80")
	silent(t, near.ns, "tcp4", port(web, 8080))
	r.policy("ports", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}")
	open()

	r.drop("ports")
	silent(t, far.ns, "tcp4", port(web, 8080))
	r.drop("deny")
	open()
	if n := len(sets(t, one)); n != 27 {
		t.Errorf("without policies there are %d sets and maps, want 27: %q", n, sets(t, one))
	}
}

func TestPoliciesOfSenders(t *testing.T) {
	t.Parallel() // it waits for silence
	r := newRuled(t, 2)
	job := r.pod(1, "job", 2, map[string]string{"app": "job"})
	db, other := r.pod(2, "db", 3, map[string]string{"app": "db"}), r.pod(2, "other", 4, nil)
	near := r.pod(1, "near", 5, map[string]string{"app": "db"})
	outside := r.host(200)
	serve(t, outside.ns, outside.ip.String()+":7000", "outside")
	away := outside.ip.String() + ":7000"
	for _, m := range r.machines {
		m.apply(false, service("db", "10.96.1.1", corev1.ServiceTypeClusterIP, tcp(80, 0)), endpoints("db", db))
	}
	const of = "podSelector: {matchLabels: {app: job}}, policyTypes: [Egress]"
	r.policy("out", "{"+of+"}")
	silent(t, job.ns, "tcp4", port(db, 8080))
	silent(t, job.ns, "tcp4", port(near, 8080))
	silent(t, job.ns, "tcp4", "10.96.1.1:80")
	silent(t, job.ns, "tcp4", away)
	expect(t, db.ns, "tcp4", port(job, 8080), "job")
	sees(t, other.ns, away, "outside", r.machines[1].ip)

	// By label: a service is judged by who answers for it.
	r.policy("out", "{"+of+", egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}")
	for _, addr := range []string{port(db, 8080), port(near, 8080), "10.96.1.1:80"} {
		_, _, err := ask(t, job.ns, "tcp4", addr)
		must(t, err)
	}
	silent(t, job.ns, "tcp4", port(other, 8080))

	// By the receivers' port of that name.
	r.policy("out", "{"+of+", egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]}")
	expect(t, job.ns, "tcp4", port(other, 8080), "other")
	expect(t, job.ns, "tcp4", "10.96.1.1:80", "db")
	silent(t, job.ns, "udp4", port(other, 8080))
	r.policy("out", "{"+of+", egress: [{to: [{podSelector: {}}], ports: [{port: https}]}]}")
	silent(t, job.ns, "tcp4", port(other, 8080))

	r.policy("out", "{"+of+", egress: [{to: [{ipBlock: {cidr: 192.168.77.0/24}}], ports: [{port: 7000}]}]}")
	expect(t, job.ns, "tcp4", away, "outside")
	silent(t, job.ns, "udp4", away)

	// Both ends have to allow it.
	r.policy("out", "{"+of+", egress: [{}]}")
	r.policy("in", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}")
	silent(t, job.ns, "tcp4", port(near, 8080))
	expect(t, job.ns, "tcp4", port(other, 8080), "other")
	r.policy("in", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: job}}}]}]}")
	expect(t, job.ns, "tcp4", port(near, 8080), "near")
	r.policy("out", "{"+of+"}")
	silent(t, job.ns, "tcp4", port(near, 8080))
}

// Conversations that a new policy would not allow go on; an agent that restarts
// opens nothing; rules are there before a pod's link is.
func TestPoliciesOverTime(t *testing.T) {
	t.Parallel() // it waits for silence
	r := newRuled(t, 1)
	m := r.machines[0]
	a, b := r.pod(1, "a", 2, nil), r.pod(1, "b", 3, nil)
	var l net.Listener
	must(t, within(t, b.ns, func() (err error) {
		l, err = net.Listen("tcp4", port(b, 9000))
		return err
	}))
	defer l.Close()
	var talk net.Conn
	must(t, within(t, a.ns, func() (err error) {
		talk, err = net.Dial("tcp4", port(b, 9000))
		return err
	}))
	defer talk.Close()
	answer, err := l.Accept()
	must(t, err)
	defer answer.Close()
	r.policy("deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
	silent(t, a.ns, "tcp4", port(b, 9000))
	_, err = talk.Write([]byte("still"))
	must(t, err)
	must(t, answer.SetReadDeadline(time.Now().Add(dialMax)))
	_, err = io.ReadFull(answer, make([]byte, 5))
	must(t, err)

	m.stop()
	silent(t, a.ns, "tcp4", port(b, 8080)) // while nobody runs
	m.start()
	m.apply(true, m.nodeObject(), a.Pod, b.Pod, r.policies["deny"])
	silent(t, a.ns, "tcp4", port(b, 8080))

	c := &testPod{ns: newNS(t), id: "early", on: m, addr: netip.MustParseAddr("10.128.1.9"), Pod: &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c", UID: "c"},
		Spec:       corev1.PodSpec{NodeName: m.name}, Status: corev1.PodStatus{PodIP: "10.128.1.9"},
	}}
	wired := make(chan bool)
	go func() {
		_, code := m.cni("ADD", c)
		wired <- code == 0 && slices.Contains(sets(t, m)["isolated-in"], c.addr.String())
	}()
	m.apply(false, c.Pod)
	if !<-wired {
		t.Error("a pod is wired before its rules are there")
	}
	m.apply(true, m.nodeObject(), a.Pod, b.Pod)
	expect(t, a.ns, "tcp4", port(b, 8080), "b")
}

// sets returns what sets and maps of the machine's table there are, and their keys.
func sets(t testing.TB, m *machine) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	must(t, within(t, m.ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		found, err := c.GetSets(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: DefaultBridge})
		if err != nil {
			return err
		}
		for _, s := range found {
			elements, err := c.GetSetElements(s)
			if err != nil {
				return err
			}
			all[s.Name] = nil
			for _, e := range elements {
				a, _ := netip.AddrFromSlice(e.Key[:min(4, len(e.Key))])
				all[s.Name] = append(all[s.Name], a.String())
			}
		}
		return nil
	}))
	return all
}
