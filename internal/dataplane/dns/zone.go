package dns

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"trireme/internal/dataplane/balance"
	"trireme/internal/object/network"
)

const ttl = 5 // seconds

// Zone is what the cluster's domain holds.
type Zone struct {
	domain string         // "cluster.local.", lower case
	ranges []netip.Prefix // whose addresses are ours to name

	mu       sync.RWMutex
	partial  bool                       // there may be more than what was set
	services map[string]*service        // "name.ns"
	spaces   map[string]int             // services in a namespace
	names    map[netip.Addr][]reference // for PTR
	networks map[string]*members        // "network.ns"
	views    map[netip.Addr]*View       // by who asks
}

type service struct {
	name, namespace string
	external        string       // ExternalName, absolute
	only            bool         // it is known on tenants' networks and to their pods only
	addresses       []netip.Addr // of the service; empty: headless
	ports           []port
	endpoints       []endpoint
}

type port struct {
	name, proto string // lower case
	number      uint16
}

type endpoint struct {
	host    string
	address netip.Addr
	ports   []port
	pod     string // empty: it is none
}

type reference struct{ owner, name string }

// NewZone returns an empty zone. Addresses in the ranges that have no name are
// answered with NXDOMAIN, others are somebody else's.
func NewZone(domain string, ranges ...netip.Prefix) *Zone {
	return &Zone{
		domain: strings.ToLower(dns.Fqdn(domain)), ranges: ranges,
		services: map[string]*service{}, spaces: map[string]int{}, names: map[netip.Addr][]reference{},
		networks: map[string]*members{}, views: map[netip.Addr]*View{},
	}
}

// Set puts a service and its endpoints into the zone.
func (z *Zone) Set(svc *corev1.Service, slices []*discoveryv1.EndpointSlice) {
	s := parse(svc, slices)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.deleteLocked(s.key())
	z.services[s.key()] = s
	z.spaces[s.namespace]++
	for a, name := range z.reverse(s) {
		z.names[a] = append(z.names[a], reference{s.key(), name})
	}
}

// Partial says whether there may be services that the zone was not told of. While
// there may, nobody is told that a name does not exist.
func (z *Zone) Partial(partial bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.partial = partial
}

// Delete removes a service.
func (z *Zone) Delete(namespace, name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.deleteLocked(name + "." + namespace)
}

func (z *Zone) deleteLocked(key string) {
	s := z.services[key]
	if s == nil {
		return
	}
	delete(z.services, key)
	if z.spaces[s.namespace]--; z.spaces[s.namespace] == 0 {
		delete(z.spaces, s.namespace)
	}
	for a := range z.reverse(s) {
		left := slices.DeleteFunc(slices.Clone(z.names[a]), func(r reference) bool { return r.owner == key })
		if z.names[a] = left; len(left) == 0 {
			delete(z.names, a)
		}
	}
}

func (s *service) key() string { return s.name + "." + s.namespace }

func (z *Zone) fqdn(s *service) string { return s.key() + ".svc." + z.domain }

// reverse returns the names that a service gives to addresses.
func (z *Zone) reverse(s *service) map[netip.Addr]string {
	names := map[netip.Addr]string{}
	if s.only {
		return names
	}
	for _, e := range s.endpoints {
		names[e.address] = e.host + "." + z.fqdn(s)
	}
	for _, a := range s.addresses {
		names[a] = z.fqdn(s)
	}
	return names
}

func parse(svc *corev1.Service, all []*discoveryv1.EndpointSlice) *service {
	s := &service{name: svc.Name, namespace: svc.Namespace, only: svc.Annotations[network.OnlyAnnotation] == "true"}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		s.external = dns.Fqdn(svc.Spec.ExternalName)
		return s
	}
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip); err == nil {
			s.addresses = append(s.addresses, a)
		}
	}
	for _, p := range svc.Spec.Ports {
		s.ports = append(s.ports, port{p.Name, proto(p.Protocol), uint16(p.Port)})
	}
	for _, slice := range all {
		ports := slicePorts(slice)
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if len(e.Addresses) == 0 || !balance.Ready(e) && !svc.Spec.PublishNotReadyAddresses {
				continue
			}
			a, err := netip.ParseAddr(e.Addresses[0])
			if err != nil {
				continue
			}
			host := dashed(a)
			if e.Hostname != nil && *e.Hostname != "" {
				host = *e.Hostname
			}
			pod := ""
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
				pod = e.TargetRef.Name
			}
			s.endpoints = append(s.endpoints, endpoint{host, a, ports, pod})
		}
	}
	return s
}

func slicePorts(s *discoveryv1.EndpointSlice) []port {
	var ports []port
	for _, p := range s.Ports {
		if p.Port == nil {
			continue
		}
		var name string
		var protocol corev1.Protocol
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		ports = append(ports, port{name, proto(protocol), uint16(*p.Port)})
	}
	return ports
}

func proto(p corev1.Protocol) string {
	if p == "" {
		return "tcp"
	}
	return strings.ToLower(string(p))
}

func dashed(a netip.Addr) string { return strings.NewReplacer(".", "-", ":", "-").Replace(a.String()) }

// Reply is what the zone says to a question.
type Reply struct {
	Ours   bool // whether the zone answers at all
	Exists bool // whether the name exists
	Unsure bool // the name may exist all the same
	Answer []dns.RR
	Extra  []dns.RR
	Chase  string // a name outside the zone whose records belong into the answer
}

// Lookup answers a question of whoever has the address; invalid: of anybody.
func (z *Zone) Lookup(q dns.Question, from netip.Addr) Reply {
	z.mu.RLock()
	defer z.mu.RUnlock()
	r := z.lookupLocked(q, z.viewLocked(from))
	r.Unsure = z.partial && r.Ours && !r.Exists
	return r
}

func (z *Zone) lookupLocked(q dns.Question, v View) Reply {
	name := strings.ToLower(q.Name)
	if a, ok := reversed(name); ok {
		return z.lookupAddress(a, q, v)
	}
	if name == z.domain {
		r := Reply{Ours: true, Exists: true}
		if q.Qtype == dns.TypeSOA {
			r.Answer = []dns.RR{z.soa()}
		}
		return r
	}
	rest, ok := strings.CutSuffix(name, "."+z.domain)
	if !ok {
		return z.lookupBare(name, q, v)
	}
	labels := strings.Split(rest, ".")
	kind, labels := labels[len(labels)-1], labels[:len(labels)-1]
	r := Reply{}
	switch {
	case kind == "svc":
		r = z.lookupService(labels, q, v)
	case kind == "net":
		r = z.lookupNetwork(labels, q, v)
	case kind == "pod":
		r = z.lookupPod(labels, q)
	case kind == "dns-version" && len(labels) == 0:
		r.Exists = true
		if q.Qtype == dns.TypeTXT {
			r.Answer = []dns.RR{&dns.TXT{Hdr: header(q.Name, dns.TypeTXT), Txt: []string{"1.1.0"}}}
		}
	}
	r.Ours = true
	return r
}

// lookupBare answers for a name without a domain that a network of the asker knows, and for
// its tasks, as docker's own resolver does (Docker, "Container networking", DNS services):
// programs that know no search path ask so. What no network knows is somebody else's.
func (z *Zone) lookupBare(name string, q dns.Question, v View) Reply {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	if len(v.Networks) == 0 || labels[0] == "" || len(labels) > 2 || len(labels) == 2 && labels[0] != "tasks" {
		return Reply{}
	}
	s := z.seenLocked(labels, v, v.Networks)
	if s == nil {
		return Reply{}
	}
	r := z.lookupWithin(labels, s, "", q)
	r.Ours = true
	return r
}

func (z *Zone) lookupService(labels []string, q dns.Question, v View) Reply {
	n := len(labels)
	if n == 0 {
		return Reply{Exists: true}
	}
	if n == 1 {
		return Reply{Exists: z.spaces[labels[0]] > 0}
	}
	s := z.services[labels[n-2]+"."+labels[n-1]]
	if s != nil && s.only {
		s = nil
	}
	if v.Only {
		if s = nil; labels[n-1] == v.Namespace {
			s = z.seenLocked(labels[:n-1], v, v.Networks)
		}
	}
	return z.lookupWithin(labels[:n-1], s, "."+labels[n-1]+".svc.", q)
}

// lookupWithin answers for a service, or for what is below it; labels end with its name.
func (z *Zone) lookupWithin(labels []string, s *service, under string, q dns.Question) Reply {
	switch n := len(labels) + 1; {
	case s == nil:
		return Reply{}
	case n == 2 && s.external != "":
		return Reply{Exists: true, Chase: s.external, Answer: []dns.RR{&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: s.external}}}
	case n == 2 && len(s.addresses) > 0:
		return Reply{Exists: true, Answer: addresses(q, s.addresses)}
	case n == 2:
		return Reply{Exists: true, Answer: addresses(q, s.tasks())}
	case n == 4:
		return z.lookupPort(s, labels, under, q)
	case n == 3:
		return s.lookupEndpoint(labels[0], q)
	}
	return Reply{}
}

// tasks returns the addresses of the endpoints, in any order.
func (s *service) tasks() []netip.Addr {
	var all []netip.Addr
	for _, e := range s.endpoints {
		if !slices.Contains(all, e.address) {
			all = append(all, e.address)
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func (s *service) lookupEndpoint(label string, q dns.Question) Reply {
	var all []netip.Addr
	for _, e := range s.endpoints {
		if strings.EqualFold(e.host, label) && !slices.Contains(all, e.address) {
			all = append(all, e.address)
		}
	}
	if len(all) > 0 {
		return Reply{Exists: true, Answer: addresses(q, all)}
	}
	if strings.EqualFold(label, "tasks") { // no endpoint calls itself so
		return Reply{Exists: true, Answer: addresses(q, s.tasks())}
	}
	protocol, ok := strings.CutPrefix(label, "_")
	named := func(p port) bool { return p.name != "" && p.proto == protocol }
	return Reply{Exists: ok && slices.ContainsFunc(s.ports, named)} // the parent of an SRV record
}

func (z *Zone) lookupPort(s *service, labels []string, under string, q dns.Question) Reply {
	name, ok1 := strings.CutPrefix(labels[0], "_")
	protocol, ok2 := strings.CutPrefix(labels[1], "_")
	if !ok1 || !ok2 || name == "" {
		return Reply{}
	}
	same := func(p port) bool { return strings.EqualFold(p.name, name) && p.proto == protocol }
	at := slices.IndexFunc(s.ports, same)
	if at < 0 {
		return Reply{}
	}
	r := Reply{Exists: true}
	if q.Qtype != dns.TypeSRV {
		return r
	}
	add := func(target string, number uint16, a []netip.Addr) {
		r.Answer = append(r.Answer, &dns.SRV{Hdr: header(q.Name, dns.TypeSRV), Weight: 100, Port: number, Target: target})
		for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
			r.Extra = append(r.Extra, addresses(dns.Question{Name: target, Qtype: t}, a)...)
		}
	}
	if len(s.addresses) > 0 {
		add(s.name+under+z.domain, s.ports[at].number, s.addresses)
		return r
	}
	for _, e := range s.endpoints {
		if i := slices.IndexFunc(e.ports, same); i >= 0 {
			add(e.host+"."+s.name+under+z.domain, e.ports[i].number, []netip.Addr{e.address})
		}
	}
	return r
}

func (z *Zone) lookupPod(labels []string, q dns.Question) Reply {
	switch len(labels) {
	case 0, 1:
		return Reply{Exists: true}
	case 2:
		a, err := netip.ParseAddr(strings.ReplaceAll(labels[0], "-", "."))
		if err != nil {
			a, err = netip.ParseAddr(strings.ReplaceAll(labels[0], "-", ":"))
		}
		if err == nil {
			return Reply{Exists: true, Answer: addresses(q, []netip.Addr{a})}
		}
	}
	return Reply{}
}

// reversed returns the address that a name of the reverse tree is of.
func reversed(name string) (netip.Addr, bool) {
	var text string
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		parts := strings.Split(rest, ".")
		slices.Reverse(parts)
		text = strings.Join(parts, ".")
	} else if rest, ok := strings.CutSuffix(name, ".ip6.arpa."); ok {
		digits := strings.Split(rest, ".")
		slices.Reverse(digits)
		var groups []string
		for part := range slices.Chunk(digits, 4) {
			groups = append(groups, strings.Join(part, ""))
		}
		text = strings.Join(groups, ":")
	}
	a, err := netip.ParseAddr(text)
	return a, err == nil
}

func (z *Zone) lookupAddress(a netip.Addr, q dns.Question, v View) Reply {
	if name := z.namedLocked(a, v); name != "" {
		r := Reply{Ours: true, Exists: true}
		if q.Qtype == dns.TypePTR {
			r.Answer = []dns.RR{&dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: name}}
		}
		return r
	}
	if !slices.ContainsFunc(z.ranges, func(p netip.Prefix) bool { return p.Contains(a) }) && len(z.names[a]) == 0 {
		return Reply{}
	}
	r := Reply{Ours: true, Exists: len(z.names[a]) > 0}
	for _, ref := range z.names[a] {
		if q.Qtype == dns.TypePTR {
			r.Answer = append(r.Answer, &dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: ref.name})
		}
	}
	return r
}

func addresses(q dns.Question, all []netip.Addr) []dns.RR {
	var rrs []dns.RR
	for _, a := range all {
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			rrs = append(rrs, &dns.A{Hdr: header(q.Name, dns.TypeA), A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			rrs = append(rrs, &dns.AAAA{Hdr: header(q.Name, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return rrs
}

func (z *Zone) soa() dns.RR {
	return &dns.SOA{
		Hdr: header(z.domain, dns.TypeSOA), Ns: "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}

func header(name string, t uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
}
