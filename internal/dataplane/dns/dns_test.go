package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](v T) *T { return &v }

func svc(name string, f func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{
			{Name: "http", Port: 80}, {Name: "dgram", Port: 53, Protocol: corev1.ProtocolUDP},
		}},
	}
	f(&s.Spec)
	return s
}

func endpoints(es ...discoveryv1.Endpoint) []*discoveryv1.EndpointSlice {
	return []*discoveryv1.EndpointSlice{{Endpoints: es, Ports: []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(8080))}}}}
}

func at(ip, host string, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
	if host != "" {
		e.Hostname = &host
	}
	return e
}

func zone() *Zone {
	z := NewZone("cluster.local", netip.MustParsePrefix("10.128.0.0/10"), netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:96::/112"))
	z.Set(svc("both", func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.ClusterIPs = "10.96.0.2", []string{"10.96.0.2", "fd00:96::2"}
	}), nil)
	z.Set(svc("web", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.1" }), endpoints(at("10.128.0.5", "", true)))
	z.Set(svc("db", func(*corev1.ServiceSpec) {}), endpoints(at("10.128.0.2", "db-0", true), at("10.128.0.3", "db-1", false), at("10.128.0.4", "", true)))
	z.Set(svc("early", func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = true }), endpoints(at("10.128.0.3", "", false)))
	z.Set(svc("lonely", func(*corev1.ServiceSpec) {}), nil)
	z.Set(svc("away", func(s *corev1.ServiceSpec) {
		s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "www.example.com"
	}), nil)
	z.Set(svc("alias", func(s *corev1.ServiceSpec) {
		s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "web.default.svc.cluster.local"
	}), nil)
	return z
}

// upstream answers for example.com over UDP and TCP, and cuts off over UDP what
// is asked for big.example.com.
func upstream(t *testing.T) string {
	t.Helper()
	return listen(t, dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		switch name := r.Question[0].Name; {
		case name == "big.example.com." && w.LocalAddr().Network() == "udp":
			m.Truncated = true
		case name == "big.example.com.":
			for i := range 100 {
				m.Answer = append(m.Answer, &dns.A{Hdr: header(name, dns.TypeA), A: net.IPv4(192, 0, 2, byte(i))})
			}
		case strings.HasSuffix(name, "example.com."):
			m.Answer = []dns.RR{&dns.A{Hdr: header(name, dns.TypeA), A: net.IPv4(192, 0, 2, 1)}}
		default:
			m.Rcode = dns.RcodeNameError
		}
		if err := w.WriteMsg(m); err != nil {
			t.Error(err)
		}
	}))
}

func resolver(upstream ...string) *Resolver {
	return NewResolver(ResolverConfig{Upstream: upstream, Log: slog.New(slog.DiscardHandler)})
}

func listen(t *testing.T, h dns.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{Listener: l, Handler: h}, {PacketConn: u, Handler: h}} {
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(ended)
			if err := s.ActivateAndServe(); err != nil {
				t.Error(err)
			}
		}()
		<-started
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
			<-ended
		})
	}
	return l.Addr().String()
}

func TestAnswers(t *testing.T) {
	s := &Server{Zone: zone(), Resolver: resolver("127.0.0.1:1", upstream(t)), Log: slog.New(slog.DiscardHandler)}
	const nx, none = "NXDOMAIN", "NOERROR"
	for _, c := range []struct {
		question string // name and type
		want     string // rcode, then the answers' data, sorted
	}{
		{"web.default.svc.cluster.local. A", "NOERROR 10.96.0.1"},
		{"WEB.Default.svc.cluster.LOCAL. A", "NOERROR 10.96.0.1"},
		{"web.default.svc.cluster.local. AAAA", none},
		{"web.other.svc.cluster.local. A", nx},
		{"default.svc.cluster.local. A", none},
		{"other.svc.cluster.local. A", nx},
		{"svc.cluster.local. A", none},
		{"cluster.local. A", none},
		{"nothing.cluster.local. A", nx},
		{"db.default.svc.cluster.local. A", "NOERROR 10.128.0.2 10.128.0.4"},
		{"db-0.db.default.svc.cluster.local. A", "NOERROR 10.128.0.2"},
		{"db-1.db.default.svc.cluster.local. A", nx},
		{"10-128-0-4.db.default.svc.cluster.local. A", "NOERROR 10.128.0.4"},
		{"tasks.db.default.svc.cluster.local. A", "NOERROR 10.128.0.2 10.128.0.4"},
		{"tasks.web.default.svc.cluster.local. A", "NOERROR 10.128.0.5"},
		{"tasks.lonely.default.svc.cluster.local. A", none},
		{"early.default.svc.cluster.local. A", "NOERROR 10.128.0.3"},
		{"lonely.default.svc.cluster.local. A", none},
		{"_http._tcp.web.default.svc.cluster.local. SRV", "NOERROR 0 100 80 web.default.svc.cluster.local."},
		{"_dgram._udp.web.default.svc.cluster.local. SRV", "NOERROR 0 100 53 web.default.svc.cluster.local."},
		{"_http._udp.web.default.svc.cluster.local. SRV", nx},
		{"_tcp.web.default.svc.cluster.local. SRV", none},
		{"_http._tcp.db.default.svc.cluster.local. SRV", "NOERROR 0 100 8080 10-128-0-4.db.default.svc.cluster.local. 0 100 8080 db-0.db.default.svc.cluster.local."},
		{"1.0.96.10.in-addr.arpa. PTR", "NOERROR web.default.svc.cluster.local."},
		{"2.0.128.10.in-addr.arpa. PTR", "NOERROR db-0.db.default.svc.cluster.local."},
		{"9.0.128.10.in-addr.arpa. PTR", nx},
		{"10-128-0-9.default.pod.cluster.local. A", "NOERROR 10.128.0.9"},
		{"fd00-128--9.default.pod.cluster.local. AAAA", "NOERROR fd00:128::9"},
		{"both.default.svc.cluster.local. AAAA", "NOERROR fd00:96::2"},
		{"both.default.svc.cluster.local. A", "NOERROR 10.96.0.2"},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa. PTR", "NOERROR both.default.svc.cluster.local."},
		{"3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa. PTR", nx},
		{"nonsense.default.pod.cluster.local. A", nx},
		{"dns-version.cluster.local. TXT", `NOERROR "1.1.0"`},
		{"away.default.svc.cluster.local. CNAME", "NOERROR www.example.com."},
		{"away.default.svc.cluster.local. A", "NOERROR 192.0.2.1 www.example.com."},
		{"alias.default.svc.cluster.local. A", "NOERROR 10.96.0.1 web.default.svc.cluster.local."},
		{"www.example.com. A", "NOERROR 192.0.2.1"},
		{"www.example.org. A", nx},
	} {
		name, typ, _ := strings.Cut(c.question, " ")
		m := s.answer(t.Context(), new(dns.Msg).SetQuestion(name, dns.StringToType[typ]), netip.Addr{})
		var data []string
		for _, rr := range m.Answer {
			data = append(data, strings.TrimPrefix(rr.String(), rr.Header().String()))
			if rr.Header().Ttl != ttl {
				t.Errorf("%s: lives %d seconds", c.question, rr.Header().Ttl)
			}
		}
		slices.Sort(data)
		got := strings.Join(append([]string{dns.RcodeToString[m.Rcode]}, data...), " ")
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.question, got, c.want)
		}
		if ours := strings.Contains(name, "cluster.local"); ours && len(data) == 0 && (len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA) {
			t.Errorf("%s: an empty answer without SOA: %v", c.question, m.Ns)
		}
	}
}

// TestPartialZone: a server that has not heard of all services yet says of none that
// it does not exist.
func TestPartialZone(t *testing.T) {
	z := zone()
	s := &Server{Zone: z, Resolver: resolver(), Log: slog.New(slog.DiscardHandler)}
	ask := func(name string, typ uint16) string {
		return dns.RcodeToString[s.answer(t.Context(), new(dns.Msg).SetQuestion(name, typ), netip.Addr{}).Rcode]
	}
	for _, c := range []struct {
		partial bool
		want    string
	}{{true, "SERVFAIL"}, {false, "NXDOMAIN"}} {
		z.Partial(c.partial)
		if got := ask("other.default.svc.cluster.local.", dns.TypeA); got != c.want {
			t.Errorf("partial %t: a service that is not known: %s", c.partial, got)
		}
		if got := ask("9.9.96.10.in-addr.arpa.", dns.TypePTR); got != c.want {
			t.Errorf("partial %t: an address that is not known: %s", c.partial, got)
		}
		if got := ask("web.default.svc.cluster.local.", dns.TypeA); got != "NOERROR" {
			t.Errorf("partial %t: a service that is known: %s", c.partial, got)
		}
	}
}

func TestChangesOfTheZone(t *testing.T) {
	z := zone()
	z.Set(svc("web", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.9" }), nil)
	for _, c := range []struct {
		name string
		typ  uint16
		want int
	}{{"1.0.96.10.in-addr.arpa.", dns.TypePTR, 0}, {"9.0.96.10.in-addr.arpa.", dns.TypePTR, 1}, {"web.default.svc.cluster.local.", dns.TypeA, 1}} {
		if got := z.Lookup(dns.Question{Name: c.name, Qtype: c.typ}, netip.Addr{}); len(got.Answer) != c.want {
			t.Errorf("%s: %v", c.name, got.Answer)
		}
	}
	for _, name := range []string{"web", "both", "db", "early", "lonely", "away", "alias"} {
		z.Delete("default", name)
	}
	if len(z.names)+len(z.services)+len(z.spaces) != 0 {
		t.Errorf("left: %v %v %v", z.names, z.services, z.spaces)
	}
}

// A big answer is cut for a client that asks over UDP, whole over TCP.
func TestSizes(t *testing.T) {
	z := zone()
	var many []discoveryv1.Endpoint
	for i := range 200 {
		many = append(many, at(netip.AddrFrom4([4]byte{10, 128, 1, byte(i)}).String(), "", true))
	}
	z.Set(svc("many", func(*corev1.ServiceSpec) {}), endpoints(many...))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	s := &Server{Zone: z, Resolver: resolver(upstream(t)), Log: slog.New(slog.DiscardHandler)}
	go func() { ended <- s.Serve(ctx, u, l) }()
	got := map[string]string{}
	for _, network := range []string{"udp", "tcp"} {
		for _, size := range []uint16{0, 1232} {
			for _, name := range []string{"many.default.svc.cluster.local.", "big.example.com."} {
				q := new(dns.Msg).SetQuestion(name, dns.TypeA)
				if size > 0 {
					q.SetEdns0(size, false)
				}
				r, _, err := (&dns.Client{Net: network, UDPSize: max(size, 512)}).Exchange(q, l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				got[fmt.Sprintf("%s %s %d", name[:3], network, size)] = fmt.Sprintf("cut %v, all %v", r.Truncated, len(r.Answer) >= 100)
			}
		}
	}
	want := map[string]string{}
	for _, name := range []string{"man", "big"} {
		for _, size := range []string{"0", "1232"} {
			want[name+" udp "+size], want[name+" tcp "+size] = "cut true, all false", "cut false, all true"
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func FuzzLookup(f *testing.F) {
	for _, name := range []string{"web.default.svc.cluster.local.", "_http._tcp.db.default.svc.cluster.local.", "1.0.96.10.in-addr.arpa.", ".", "..svc.cluster.local."} {
		f.Add(name, dns.TypeA)
	}
	z := zone()
	f.Fuzz(func(t *testing.T, name string, qtype uint16) {
		r := z.Lookup(dns.Question{Name: name, Qtype: qtype}, netip.Addr{})
		if !r.Exists && len(r.Answer) > 0 {
			t.Errorf("%q does not exist and has %v", name, r.Answer)
		}
	})
}
