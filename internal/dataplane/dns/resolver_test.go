package dns

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// counted answers A questions with its own address: names that begin with "nx" do not
// exist, "short" lives no time, "broken" fails. It counts what it is asked.
func counted(t *testing.T, address string, hold <-chan struct{}) (addr string, asked *atomic.Int32) {
	asked = &atomic.Int32{}
	return listen(t, dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		<-hold
		name := r.Question[0].Name
		m := new(dns.Msg).SetReply(r)
		h := dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}
		switch {
		case strings.HasPrefix(name, "nx"):
			m.Rcode = dns.RcodeNameError
			m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 300}, Ns: "ns.example.", Mbox: "host.example.", Minttl: 30}}
		case strings.HasPrefix(name, "broken"):
			m.Rcode = dns.RcodeServerFailure
		case strings.HasPrefix(name, "short"):
			h.Ttl = 0
			fallthrough
		default:
			m.Answer = []dns.RR{&dns.A{Hdr: h, A: net.ParseIP(address)}}
		}
		if err := w.WriteMsg(m); err != nil {
			t.Error(err)
		}
	})), asked
}

func open() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// TestRemembers: an answer is given again as long as it says it holds.
func TestRemembers(t *testing.T) {
	addr, asked := counted(t, "192.0.2.1", open())
	r := resolver(addr)
	got := map[string]string{}
	for _, name := range []string{"www.example.", "WWW.example.", "nx.example.", "short.example.", "broken.example."} {
		asked.Store(0)
		var m *dns.Msg
		for range 3 {
			q := new(dns.Msg).SetQuestion(name, dns.TypeA)
			if m = r.Resolve(t.Context(), q); m.Id != q.Id || m.Question[0].Name != name {
				t.Errorf("%s: the answer is to %d %s", name, m.Id, m.Question[0].Name)
			}
		}
		got[name] = fmt.Sprintf("%s, %d records, asked %d times", dns.RcodeToString[m.Rcode], len(m.Answer), asked.Load())
	}
	if diff := cmp.Diff(map[string]string{
		"www.example.":    "NOERROR, 1 records, asked 1 times",
		"WWW.example.":    "NOERROR, 1 records, asked 0 times",
		"nx.example.":     "NXDOMAIN, 0 records, asked 1 times",
		"short.example.":  "NOERROR, 1 records, asked 3 times",
		"broken.example.": "SERVFAIL, 0 records, asked 3 times",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	q := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
	q.SetEdns0(1232, true)
	asked.Store(0)
	if r.Resolve(t.Context(), q); asked.Load() != 1 {
		t.Error("who asks for signatures was given what somebody got who did not")
	}
}

// TestForgets: what is remembered grows old, and is given no longer than it holds.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := resolver()
		m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "www.example.", Rrtype: dns.TypeA, Ttl: 60}}}
		m.SetEdns0(4096, true)
		r.answers.Add("q", &remembered{m, time.Now(), time.Now().Add(time.Minute)})
		time.Sleep(45 * time.Second)
		got := r.recall("q")
		if got == nil || got.Answer[0].Header().Ttl != 15 || !got.IsEdns0().Do() {
			t.Errorf("after 45 of 60 seconds: %v", got)
		}
		time.Sleep(15 * time.Second)
		if got := r.recall("q"); got != nil {
			t.Errorf("after its time: %v", got)
		}
	})
}

// TestOnce: equal questions that come at once are asked once.
func TestOnce(t *testing.T) {
	hold := make(chan struct{})
	addr, asked := counted(t, "192.0.2.1", hold)
	r := resolver(addr)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if m := r.Resolve(t.Context(), new(dns.Msg).SetQuestion("www.example.", dns.TypeA)); len(m.Answer) != 1 {
				t.Errorf("%v", m)
			}
		})
	}
	hold <- struct{}{} // one has asked: the others wait with it, or find what it brought
	close(hold)
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestStubs: a name is asked of the resolvers of the longest domain that it is in; one
// that did not answer is asked last.
func TestStubs(t *testing.T) {
	world, _ := counted(t, "192.0.2.1", open())
	corp, _ := counted(t, "192.0.2.2", open())
	lab, _ := counted(t, "192.0.2.3", open())
	const dead = "127.0.0.1:1"
	r := NewResolver(ResolverConfig{
		Upstream: []string{dead, world}, Log: slog.New(slog.DiscardHandler),
		Stubs: map[string][]string{"Corp.example": {corp}, "lab.corp.example.": {lab}},
	})
	for name, want := range map[string]string{
		"corp.example.": "192.0.2.2", "a.b.CORP.example.": "192.0.2.2", "x.lab.corp.example.": "192.0.2.3",
		"notcorp.example.": "192.0.2.1", "example.": "192.0.2.1",
	} {
		m := r.Resolve(t.Context(), new(dns.Msg).SetQuestion(name, dns.TypeA))
		if len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != want {
			t.Errorf("%s: %v, want %s", name, m.Answer, want)
		}
	}
	if got := r.inTurn("example."); got[0] != world {
		t.Errorf("the dead resolver is asked first again: %v", got)
	}
}

// TestParse: resolvers and stubs as a flag gives them.
func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"corp.example=10.0.0.53,10.0.0.54:5353": "corp.example [10.0.0.53:53 10.0.0.54:5353]",
		"v6.example=fd00::1":                    "v6.example [[fd00::1]:53]",
		"corp.example":                          `"corp.example" is not DOMAIN=ADDRESS[:PORT][,ADDRESS[:PORT]...]`,
		"=10.0.0.1":                             `"=10.0.0.1" is not DOMAIN=ADDRESS[:PORT][,ADDRESS[:PORT]...]`,
		".=10.0.0.1":                            `".=10.0.0.1" is not DOMAIN=ADDRESS[:PORT][,ADDRESS[:PORT]...]`,
		"a..b=10.0.0.1":                         `"a..b=10.0.0.1" is not DOMAIN=ADDRESS[:PORT][,ADDRESS[:PORT]...]`,
		"corp.example=ns.corp.example":          `"corp.example=ns.corp.example": "ns.corp.example" is not the address of a resolver: want an IP address, with :PORT if that is not 53`,
		"corp.example=10.0.0.1,":                `"corp.example=10.0.0.1,": "" is not the address of a resolver: want an IP address, with :PORT if that is not 53`,
	} {
		domain, resolvers, err := ParseStub(text)
		got := fmt.Sprintf("%s %v", domain, resolvers)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
