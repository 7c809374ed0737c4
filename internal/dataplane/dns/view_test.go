package dns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

// TestViews: names of a tenants' network are there for its members alone, and are what
// short names mean to those that are on no other network.
func TestViews(t *testing.T) {
	z := zone()
	web := endpoints(at("10.128.0.5", "", true), at("10.128.0.6", "", true))
	for i, pod := range []string{"web-1", "web-2"} {
		web[0].Endpoints[i].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: pod}
	}
	z.Set(svc("web", func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.Ports = "10.96.0.1", []corev1.ServicePort{{Name: "http", Port: 80}}
	}), web)
	const uid = "uid"
	member := func(pod string, all ...string) Member {
		m := Member{Namespace: "default", Pod: pod, UID: uid}
		for _, a := range all {
			m.Addresses = append(m.Addresses, netip.MustParseAddr(a))
		}
		return m
	}
	z.SetMembers("red.default", "a", []Member{member("web-1", "10.0.9.2", "fd00:9::2"), member("both", "10.0.9.3"), member("only", "10.0.9.4")})
	z.SetMembers("blue.default", "a", []Member{member("other", "10.0.9.2")})
	view := func(from, pod string, only bool) {
		z.SetView(netip.MustParseAddr(from), &View{Namespace: "default", Pod: pod, UID: uid, Networks: []string{"red.default"}, Only: only})
	}
	view("10.128.0.10", "both", false)
	view("10.128.0.11", "only", true)
	view("10.128.0.12", "liar", false) // it says that it is on red

	const both, only, liar, nobody = "10.128.0.10", "10.128.0.11", "10.128.0.12", "10.128.0.13"
	check := func(from, name, want string) {
		t.Helper()
		kind := dns.TypeA
		name, six := strings.CutPrefix(name, "AAAA ")
		if six {
			kind = dns.TypeAAAA
		}
		if strings.HasSuffix(name, ".arpa.") {
			kind = dns.TypePTR
		}
		if strings.HasPrefix(name, "_") {
			kind = dns.TypeSRV
		}
		r := z.Lookup(dns.Question{Name: name, Qtype: kind}, netip.MustParseAddr(from))
		var got []string
		for _, rr := range r.Answer {
			text := rr.String()
			got = append(got, text[strings.LastIndexAny(text, "\t ")+1:])
		}
		slices.Sort(got)
		text := strings.Join(got, " ")
		if text == "" && !r.Exists {
			text = "none"
		}
		if text != want {
			t.Errorf("%s asks for %s: %s, want %s", from, name, text, want)
		}
	}
	for _, from := range []string{both, only} {
		check(from, "web.red.default.net.cluster.local.", "10.0.9.2")
		check(from, "AAAA WEB.red.default.net.cluster.local.", "fd00:9::2")
		check(from, "both.red.default.net.cluster.local.", "10.0.9.3")
		check(from, "_http._tcp.web.red.default.net.cluster.local.", "10-0-9-2.web.red.default.net.cluster.local. fd00-9--2.web.red.default.net.cluster.local.")
		check(from, "10-0-9-2.web.red.default.net.cluster.local.", "10.0.9.2")
		check(from, "other.blue.default.net.cluster.local.", "none")
		check(from, "web-2.red.default.net.cluster.local.", "none")
		check(from, "2.9.0.10.in-addr.arpa.", "web-1.red.default.net.cluster.local.")
		check(from, "red.default.net.cluster.local.", "")
	}
	for _, from := range []string{liar, nobody} {
		check(from, "web.red.default.net.cluster.local.", "none")
		check(from, "2.9.0.10.in-addr.arpa.", "none")
	}
	for _, from := range []string{both, liar, nobody} {
		check(from, "web.default.svc.cluster.local.", "10.96.0.1")
		check(from, "web-1.default.svc.cluster.local.", "none")
	}
	check(only, "web.default.svc.cluster.local.", "10.0.9.2")
	check(only, "tasks.web.default.svc.cluster.local.", "10.0.9.2")
	check(only, "web.", "10.0.9.2")
	check(only, "tasks.web.", "10.0.9.2")
	check(only, "web-1.default.svc.cluster.local.", "10.0.9.2")
	check(only, "db.default.svc.cluster.local.", "none")

	z.SetFront("red.default", "_default.web", &Front{Namespace: "default", Service: "web", Names: []string{"api", "stack_web", "web"}, Addresses: []netip.Addr{netip.MustParseAddr("10.0.9.9")}})
	z.SetFront("red.default", "_prod.api", &Front{Namespace: "prod", Service: "api", Names: []string{"other"}})
	for _, name := range []string{"web", "STACK_web", "api"} {
		check(only, name+".default.svc.cluster.local.", "10.0.9.9")
		check(only, "tasks."+name+".default.svc.cluster.local.", "10.0.9.2")
		check(both, name+".red.default.net.cluster.local.", "10.0.9.9")
	}
	check(only, "other.default.svc.cluster.local.", "") // no pod of it is ready
	check(nobody, "stack_web.default.svc.cluster.local.", "none")
	named := member("only", "10.0.9.4")
	named.Namespace, named.Pod, named.Names = "prod", "c-1", []string{"store"}
	z.SetMembers("red.default", "c", []Member{named})
	check(only, "store.default.svc.cluster.local.", "10.0.9.4")
	check(both, "store.red.default.net.cluster.local.", "10.0.9.4")
	check(nobody, "store.red.default.net.cluster.local.", "none")
	z.SetMembers("red.default", "c", nil)
	z.SetFront("red.default", "_default.web", nil)
	z.SetFront("red.default", "_prod.api", nil)

	next := member("both", "10.0.9.5") // its successor, on another node
	next.UID = "next"
	z.SetMembers("red.default", "b", []Member{next})
	z.SetView(netip.MustParseAddr(both), &View{Namespace: "default", Pod: "both", UID: "next", Networks: []string{"red.default"}})
	z.SetMembers("red.default", "a", []Member{member("web-1", "10.0.9.2")})
	check(both, "both.red.default.net.cluster.local.", "10.0.9.5")
	check(only, "web.default.svc.cluster.local.", "none") // it is on no network any more
	z.DeleteView(netip.MustParseAddr(both), "default", "another")
	check(both, "web.red.default.net.cluster.local.", "10.0.9.2")
	z.DeleteView(netip.MustParseAddr(both), "default", "both")
	check(both, "web.red.default.net.cluster.local.", "none")
	z.SetMembers("red.default", "a", nil)
	z.SetMembers("red.default", "b", nil)
	if len(z.networks) != 1 || len(z.views) != 2 {
		t.Errorf("left: %v, %v", z.networks, z.views)
	}
}
