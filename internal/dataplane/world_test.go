package dataplane

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/plugin"
)

// A world is machines on one wire, each a network namespace that has no name and
// so ends with the test, however that ends.
type world struct {
	t     testing.TB
	wire  netns.NsHandle
	nodes []*corev1.Node
}

type machine struct {
	*world
	ns   netns.NsHandle
	name string
	ip   netip.Addr
	root string
	dp   *Dataplane
	stop func()
}

type testPod struct {
	*corev1.Pod
	ns   netns.NsHandle
	addr netip.Addr
	id   string
	on   *machine
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces, links and nftables need root")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newNS makes a network namespace with its loopback up.
func newNS(t testing.TB) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	must(t, err)
	defer own.Close()
	ns, err := netns.New()
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if back := netns.Set(own); back != nil {
		t.Fatal(back)
	}
	must(t, err)
	return ns
}

// within calls f on a thread in the namespace.
func within(t testing.TB, ns netns.NsHandle, f func() error) error {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	must(t, err)
	defer own.Close()
	must(t, netns.Set(ns))
	err = f()
	if back := netns.Set(own); back != nil {
		t.Fatal(back)
	}
	return err
}

func newWorld(t testing.TB) *world {
	needRoot(t)
	w := &world{t: t, wire: newNS(t)}
	must(t, within(t, w.wire, func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		return netlink.LinkSetUp(br)
	}))
	return w
}

// host makes a machine on the wire without a dataplane.
func (w *world) host(i int) *machine {
	t := w.t
	m := &machine{world: w, ns: newNS(t), name: fmt.Sprintf("node-%d", i), ip: netip.AddrFrom4([4]byte{192, 168, 77, byte(i)}), root: t.TempDir()}
	must(t, within(t, m.ns, func() error {
		port := "p" + strconv.Itoa(i)
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: port, PeerNamespace: netlink.NsFd(int(w.wire))}
		if err := netlink.LinkAdd(v); err != nil {
			return err
		}
		addr, _ := netlink.ParseAddr(m.ip.String() + "/24")
		if err := netlink.AddrAdd(v, addr); err != nil {
			return err
		}
		return netlink.LinkSetUp(v)
	}))
	must(t, within(t, w.wire, func() error {
		l, err := netlink.LinkByName("p" + strconv.Itoa(i))
		if err != nil {
			return err
		}
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(l, br); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}))
	return m
}

// node makes a machine with a running dataplane that knows itself.
func (w *world) node(i int) *machine { return w.join(w.host(i), i) }

// join starts a dataplane on a machine.
func (w *world) join(m *machine, i int) *machine {
	w.nodes = append(w.nodes, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: m.name}, Spec: corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.128.%d.0/24", i)},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: m.ip.String()}}},
	})
	m.start()
	m.apply(false, w.nodes[len(w.nodes)-1])
	return m
}

func (m *machine) start() {
	t := m.t
	t.Helper()
	must(t, within(t, m.ns, func() (err error) {
		m.dp, err = New(Config{
			Node: m.name, NodeIPs: []netip.Addr{m.ip}, Root: m.root, Upstream: []string{},
			Networks: []Network{{netip.MustParsePrefix("10.128.0.0/10"), netip.MustParsePrefix("10.96.0.0/12"), netip.MustParseAddr("10.96.0.10")}},
			Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		return err
	}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.dp.Run(ctx) }()
	m.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		ended <- nil
	}
	t.Cleanup(func() { m.stop() })
}

func (m *machine) apply(full bool, objects ...metav1.Object) {
	m.t.Helper()
	var changes []Change
	for _, o := range objects {
		changes = append(changes, Change{Object: o})
	}
	must(m.t, m.dp.Apply(m.t.Context(), full, changes))
}

func (m *machine) remove(objects ...metav1.Object) {
	m.t.Helper()
	var changes []Change
	for _, o := range objects {
		changes = append(changes, Change{Object: o, Deleted: true})
	}
	must(m.t, m.dp.Apply(m.t.Context(), false, changes))
}

// cni calls the plugin as a runtime would.
func (m *machine) cni(command string, p *testPod) (string, int) {
	env := map[string]string{
		"CNI_COMMAND": command, "CNI_CONTAINERID": p.id, "CNI_IFNAME": "eth0", "CNI_NETNS": fmt.Sprintf("/proc/self/fd/%d", int(p.ns)),
		"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=" + p.Namespace + ";K8S_POD_NAME=" + p.Name + ";K8S_POD_UID=" + string(p.UID),
	}
	var conf struct {
		CNIVersion string           `json:"cniVersion"`
		Plugins    []map[string]any `json:"plugins"`
	}
	b, err := os.ReadFile(filepath.Join(m.root, "cni/net.d/10-trireme.conflist"))
	must(m.t, err)
	must(m.t, json.Unmarshal(b, &conf))
	conf.Plugins[0]["cniVersion"] = conf.CNIVersion
	in, err := json.Marshal(conf.Plugins[0])
	must(m.t, err)
	var out bytes.Buffer
	code := plugin.Main(func(k string) string { return env[k] }, bytes.NewReader(in), &out)
	return out.String(), code
}

// pod makes a pod on the machine, wired, that answers on port 8080 of TCP and
// UDP with its name and the client's address.
func (m *machine) pod(name string, last int) *testPod { return m.podWith(name, last, nil) }

func (m *machine) podWith(name string, last int, annotations map[string]string) *testPod {
	t := m.t
	t.Helper()
	p := &testPod{ns: newNS(t), id: "sandbox-of-" + name, on: m}
	subnet := netip.MustParsePrefix(m.nodeObject().Spec.PodCIDR).Addr().As4()
	p.addr = netip.AddrFrom4([4]byte{subnet[0], subnet[1], subnet[2], byte(last)})
	p.Pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid"), Annotations: annotations},
		Spec:       corev1.PodSpec{NodeName: m.name}, Status: corev1.PodStatus{PodIP: p.addr.String()},
	}
	m.apply(false, p.Pod)
	out, code := m.cni("ADD", p)
	if code != 0 {
		t.Fatalf("ADD %s: %s", name, out)
	}
	var res struct{ IPs []struct{ Address string } }
	must(t, json.Unmarshal([]byte(out), &res))
	if len(res.IPs) != 1 || res.IPs[0].Address != p.addr.String()+"/32" {
		t.Fatalf("ADD %s answered %s", name, out)
	}
	serve(t, p.ns, p.addr.String()+":8080", name)
	return p
}

func (m *machine) nodeObject() *corev1.Node {
	for _, n := range m.world.nodes {
		if n.Name == m.name {
			return n
		}
	}
	m.t.Fatal("no such node")
	return nil
}

// serve answers "name client" on an address in a namespace.
func serve(t testing.TB, ns netns.NsHandle, addr, name string) {
	t.Helper()
	var l net.Listener
	var u net.PacketConn
	must(t, within(t, ns, func() (err error) {
		if l, err = net.Listen("tcp", addr); err != nil {
			return err
		}
		u, err = net.ListenPacket("udp", addr)
		return err
	}))
	t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s", name, c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
	go func() {
		b := make([]byte, 100)
		for {
			_, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			fmt.Fprintf(packetTo{u, from}, "%s %s", name, from.(*net.UDPAddr).IP)
		}
	}()
}

type packetTo struct {
	net.PacketConn
	to net.Addr
}

func (p packetTo) Write(b []byte) (int, error) { return p.WriteTo(b, p.to) }

const dialMax = 3 * time.Second

// ask calls an address from a namespace and returns who answered and whom it saw.
func ask(t testing.TB, ns netns.NsHandle, network, addr string) (who, saw string, err error) {
	t.Helper()
	err = within(t, ns, func() error {
		c, err := net.DialTimeout(network, addr, dialMax)
		if err != nil {
			return err
		}
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(dialMax)))
		if strings.HasPrefix(network, "udp") {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			b := make([]byte, 100)
			n, err := c.Read(b)
			who, saw, _ = strings.Cut(string(b[:n]), " ")
			return err
		}
		b, err := io.ReadAll(c)
		who, saw, _ = strings.Cut(string(b), " ")
		return err
	})
	return who, saw, err
}

// expect calls until each of the names has answered, and fails if another does.
func expect(t testing.TB, ns netns.NsHandle, network, addr string, names ...string) {
	t.Helper()
	got := map[string]bool{}
	for range 200 { // a random choice of 3 misses one with 200 tries once in 10^35
		who, _, err := ask(t, ns, network, addr)
		if err != nil {
			t.Fatalf("%s %s: %v", network, addr, err)
		}
		got[who] = true
		if !contains(names, who) {
			t.Fatalf("%s %s: %q answered, want one of %v", network, addr, who, names)
		}
		if len(got) == len(names) {
			return
		}
	}
	t.Fatalf("%s %s: only %v answered, want all of %v", network, addr, got, names)
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// sees fails unless a call is answered by who, who saw the client's address.
func sees(t testing.TB, ns netns.NsHandle, addr, who string, client netip.Addr) {
	t.Helper()
	gotWho, saw, err := ask(t, ns, "tcp", addr)
	if err != nil || gotWho != who || saw != client.String() {
		t.Fatalf("%s: answered by %q who saw %q (%v), want %q and %s", addr, gotWho, saw, err, who, client)
	}
}

// refuses fails unless a call is refused at once.
func refuses(t testing.TB, ns netns.NsHandle, network, addr string) {
	t.Helper()
	start := time.Now()
	who, _, err := ask(t, ns, network, addr)
	if err == nil || !strings.Contains(err.Error(), "refused") || time.Since(start) > dialMax/2 {
		t.Fatalf("%s %s: answered by %q, error %v after %v, want a refusal at once", network, addr, who, err, time.Since(start))
	}
}

func service(name, ip string, typ corev1.ServiceType, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Type: typ, ClusterIP: ip, ClusterIPs: []string{ip}, Ports: ports},
	}
}

func tcp(port, node int32) corev1.ServicePort {
	return corev1.ServicePort{Name: "http", Port: port, NodePort: node, Protocol: corev1.ProtocolTCP}
}

func udp(port, node int32) corev1.ServicePort {
	return corev1.ServicePort{Name: "dgram", Port: port, NodePort: node, Protocol: corev1.ProtocolUDP}
}

func ptr[T any](v T) *T { return &v }

func endpoints(svc string, pods ...*testPod) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: svc + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: svc}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: ptr("http"), Port: ptr(int32(8080)), Protocol: ptr(corev1.ProtocolTCP)},
			{Name: ptr("dgram"), Port: ptr(int32(8080)), Protocol: ptr(corev1.ProtocolUDP)},
		},
	}
	for _, p := range pods {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.addr.String()}, NodeName: ptr(p.on.name), Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)},
		})
	}
	return s
}
