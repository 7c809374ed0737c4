package route_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/route"
)

// part returns a part of rules, each of which answers with its place among all.
func part(name string, age int, rules ...route.Rule) *route.Part {
	p := &route.Part{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Since: metav1.Unix(1000-int64(age), 0),
		Ports: []route.Port{{Port: 80}, {Port: 443, TLS: true}},
	}
	for i, r := range rules {
		if r.Port == 0 {
			r.Port = 80
		}
		r.Respond = &route.Respond{Body: fmt.Sprintf("%s/%d", name, i)}
		p.Rules = append(p.Rules, r)
	}
	return p
}

func prefix(s string) route.Path { return route.Path{Type: route.Prefix, Value: s} }

func TestPrecedence(t *testing.T) {
	table := route.Compile([]*route.Part{
		part("young", 1, route.Rule{Path: prefix("/")}, route.Rule{Host: "web.example", Path: prefix("/same")}),
		part("old", 2,
			route.Rule{Host: "web.example", Path: prefix("/a")},
			route.Rule{Host: "web.example", Path: prefix("/a/b")},
			route.Rule{Host: "web.example", Path: route.Path{Type: route.Exact, Value: "/a"}},
			route.Rule{Host: "*.example", Path: prefix("/"), OneLabel: true},
			route.Rule{Host: "*.deep.example", Path: prefix("/")},
			route.Rule{Host: "web.example", Path: prefix("/a"), Method: "POST"},
			route.Rule{Host: "web.example", Path: prefix("/a"), Headers: []route.Match{{Name: "X-Version", Value: "2"}}},
			route.Rule{Host: "web.example", Path: prefix("/a"), Query: []route.Match{{Name: "q", Type: route.Regex, Value: "[0-9]+"}}},
			route.Rule{Host: "web.example", Path: prefix("/same")},
			route.Rule{Host: "web.example", Path: route.Path{Type: route.Regex, Value: "/r/[a-z]+"}},
		),
	})
	for _, c := range []struct {
		host, method, url, header, want string
	}{
		{"web.example", "GET", "/a", "", "old/2"},
		{"web.example", "GET", "/a/", "", "old/0"},
		{"web.example", "GET", "/a/b/c", "", "old/1"},
		{"web.example", "GET", "/ab", "", "old/3"},
		{"web.example", "POST", "/a/x", "", "old/5"},
		{"web.example", "GET", "/a/x", "2", "old/6"},
		{"web.example", "GET", "/a/x?q=7", "", "old/7"},
		{"web.example", "GET", "/a/x?q=seven", "", "old/0"},
		{"web.example", "GET", "/same", "", "old/8"},
		{"web.example", "GET", "/r/abc", "", "old/9"},
		{"web.example", "GET", "/r/abc/d", "", "old/3"},
		{"other.example", "GET", "/", "", "old/3"},
		{"two.labels.example", "GET", "/", "", "young/0"},
		{"a.deep.example", "GET", "/", "", "old/4"},
		{"a.b.deep.example", "GET", "/", "", "old/4"},
		{"deep.example", "GET", "/", "", "old/3"},
		{"", "GET", "/", "", "young/0"},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		r := &route.Request{Port: 80, Host: c.host, Method: c.method, Path: u.Path, Query: u.Query()}
		h := http.Header{}
		r.Header = h.Values
		if c.header != "" {
			h.Set("X-Version", c.header)
		}
		got := table.Match(r)
		if got == nil || got.Respond.Body != c.want {
			t.Errorf("%s %s%s (%s): %+v, want %s", c.method, c.host, c.url, c.header, got, c.want)
		}
		if r.Port = 443; table.Match(r) != nil {
			t.Errorf("%s%s: a rule of port 80 matches on 443", c.host, c.url)
		}
	}
}

// Whatever the order in which parts come, the same rule has a request.
func TestOrderOfPartsIsNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	for range 300 {
		var parts []*route.Part
		for i := range 5 {
			var rules []route.Rule
			for range random.IntN(4) {
				rules = append(rules, route.Rule{
					Host: pick("", "a.example", "*.example", "*.b.example"), Method: pick("", "GET"),
					Path: route.Path{Type: pick(route.Exact, route.Prefix), Value: pick("/", "/a", "/a/b")},
				})
			}
			parts = append(parts, part(fmt.Sprint(i), random.IntN(2), rules...))
		}
		r := &route.Request{Port: 80, Host: pick("a.example", "a.b.example", "c"), Method: pick("GET", "PUT"), Path: pick("/", "/a", "/a/b", "/a/b/c")}
		first := route.Compile(parts).Match(r)
		random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		second := route.Compile(parts).Match(r)
		if d := cmp.Diff(first, second); d != "" {
			t.Fatalf("%+v: %s", r, d)
		}
	}
}

// TestPlaces: a rule without a port stands in all places of its part, and leaves alone
// the hosts that a place excepts.
func TestPlaces(t *testing.T) {
	p := &route.Part{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Ports: []route.Port{{Port: 80}, {Port: 443, TLS: true}},
		Places: []route.Place{{Port: 80, Host: "*.example", Except: []string{"api.example", "*.deep.example"}}, {Port: 443, Host: "one.example", Terminate: true}},
		Rules:  []route.Rule{{Path: prefix("/")}, {Passthrough: true}},
	}
	table := route.Compile([]*route.Part{p})
	for host, want := range map[string]bool{"web.example": true, "api.example": false, "a.deep.example": false, "deep.example": true, "example": false} {
		if got := table.Match(&route.Request{Port: 80, Host: host, Path: "/"}) != nil; got != want {
			t.Errorf("%s has a rule: %v", host, got)
		}
	}
	if r, terminate := table.Passthrough(443, "one.example"); r == nil || !terminate {
		t.Errorf("one.example on 443: %v, %v", r, terminate)
	}
	if r, _ := table.Passthrough(80, "api.example"); r != nil {
		t.Error("a connection for an excepted host is passed on")
	}
	if r, terminate := table.Passthrough(80, "web.example"); r == nil || terminate {
		t.Errorf("web.example on 80: %v, %v", r, terminate)
	}
}

// TestChallenges: the answer to a challenge comes before an Ingress' own rules for the
// same path and its redirect, on port 80 alone, and is no Ingress'.
func TestChallenges(t *testing.T) {
	const at = "/.well-known/acme-challenge/token"
	i := &networkingv1.Ingress{}
	i.Namespace, i.Name, i.CreationTimestamp = "default", "web", metav1.Unix(1, 0)
	i.Annotations = map[string]string{route.RedirectAnnotation: "true"}
	i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"web.example"}, SecretName: "web"}}
	exact := networkingv1.PathTypeExact
	i.Spec.Rules = []networkingv1.IngressRule{{Host: "web.example", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
		Paths: []networkingv1.HTTPIngressPath{{Path: "/"}, {Path: at, PathType: &exact}},
	}}}}
	key := object.Key{Namespace: "default", Name: "web"}
	p := route.OfChallenges(key, []route.Challenge{{Host: "Web.example", Path: at, Answer: "token.thumb"}})
	own := part("own", 2000, route.Rule{Host: "web.example", Path: route.Path{Type: route.Exact, Value: at}, Method: "GET"})
	table := route.Compile([]*route.Part{own, route.OfIngress(i), p})
	if r := table.Match(&route.Request{Port: 80, Host: "web.example", Method: "GET", Path: at}); r == nil || r.Respond == nil || r.Respond.Body != "token.thumb" {
		t.Errorf("the challenge is answered with %+v", r)
	}
	if r := table.Match(&route.Request{Port: 80, Host: "web.example", Method: "GET", Path: at + "/"}); r == nil || r.Redirect == nil {
		t.Errorf("another path has %+v", r)
	}
	if r := table.Match(&route.Request{Port: 443, Host: "web.example", Method: "GET", Path: at}); r == nil || r.Respond != nil {
		t.Errorf("on port 443: %+v", r)
	}
	if _, ok := route.IngressOf(object.KeyOf(p)); ok {
		t.Error("the answers are taken for an Ingress' part")
	}
	if got, ok := route.ChallengesOf(object.KeyOf(p)); !ok || got != key {
		t.Errorf("the answers are for %v", got)
	}
	if _, ok := route.ChallengesOf(route.IngressPart(key)); ok {
		t.Error("an Ingress' part is taken for answers")
	}
}

func TestCertificates(t *testing.T) {
	key := func(name string) object.Key { return object.Key{Namespace: "default", Name: name} }
	p := part("a", 1)
	p.Certificates = []route.Certificate{{443, "web.example", key("web")}, {443, "*.example", key("star")}, {443, "", key("any")}}
	young := part("b", 0)
	young.Certificates = []route.Certificate{{443, "web.example", key("stolen")}}
	table := route.Compile([]*route.Part{young, p})
	for host, want := range map[string]string{"web.example": "web", "mail.example": "star", "a.mail.example": "any", "": "any"} {
		if got, _ := table.Certificate(443, host); got != key(want) {
			t.Errorf("%q is shown %s, want %s", host, got, want)
		}
	}
	if _, ok := table.Certificate(80, "web.example"); ok {
		t.Error("a port without TLS shows a certificate")
	}
}

func TestPathChanges(t *testing.T) {
	for _, c := range []struct{ prefix, by, path, want string }{
		{"/a", "/b", "/a/c", "/b/c"}, {"/a/", "/b", "/a/c", "/b/c"}, {"/a", "/b/", "/a", "/b/"}, {"/a", "/", "/a/c", "/c"},
		{"/a", "/", "/a", "/"}, {"/", "/b", "/c", "/b/c"}, {"/a", "", "/a/c", "/c"}, {"/a", "", "/a", "/"},
	} {
		if got := (&route.PathChange{Value: c.by}).Apply(c.path, prefix(c.prefix)); got != c.want {
			t.Errorf("%s by %s in %s: %s, want %s", c.prefix, c.by, c.path, got, c.want)
		}
	}
}

// FuzzIngress: any Ingress becomes a part that survives its encoding, and a table that
// can be asked anything.
func FuzzIngress(f *testing.F) {
	f.Add(`{"spec":{"tls":[{"hosts":["a.example"],"secretName":"s"}],"rules":[{"host":"a.example","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"web","port":{"number":80}}}}]}}]}}`, "a.example", "/x")
	f.Add(`{"spec":{"defaultBackend":{"resource":{"kind":"X"}},"rules":[{"host":"*.example"}]}}`, "..", "//")
	f.Fuzz(func(t *testing.T, doc, host, path string) {
		var i networkingv1.Ingress
		if json.Unmarshal([]byte(doc), &i) != nil {
			return
		}
		i.CreationTimestamp = metav1.Unix(time.Unix(5, 0).Unix(), 0)
		p := route.OfIngress(&i)
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again := &route.Part{}
		if err := again.Unmarshal(b); err != nil || !p.Same(again) {
			t.Fatalf("%v: %+v became %+v", err, p, again)
		}
		table := route.Compile([]*route.Part{p})
		table.Match(&route.Request{Port: 80, Host: host, Path: path})
		table.Certificate(443, host)
		table.Passthrough(443, host)
	})
}
