package proxy_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"trireme/internal/dataplane/proxy"
	"trireme/internal/object"
	"trireme/internal/object/route"
)

// world is a proxy whose ports 80 and 443 are others of this machine.
type world struct {
	t     *testing.T
	proxy *proxy.Proxy
	at    map[int32]string
}

func newWorld(t *testing.T, more ...func(*proxy.Config)) *world {
	t.Helper()
	w := &world{t: t, at: map[int32]string{}}
	listeners := map[int32]net.Listener{}
	for _, port := range []int32{80, 443} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[port], w.at[port] = l, l.Addr().String()
	}
	cfg := proxy.Config{
		Listen: func(port int32) (net.Listener, error) { return listeners[port], nil },
		Closed: func(closed map[int32]error) { t.Error(closed) }, Log: slog.New(slog.DiscardHandler),
	}
	for _, f := range more {
		f(&cfg)
	}
	w.proxy = proxy.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.proxy.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func key(name string) object.Key { return object.Key{Namespace: "default", Name: name} }

// route makes rules the only ones.
func (w *world) route(rules ...route.Rule) {
	p := &route.Part{
		Ports:        []route.Port{{Port: 80}, {Port: 443, TLS: true}},
		Certificates: []route.Certificate{{Port: 443, Host: "secure.example", Secret: key("tls")}},
	}
	p.Namespace, p.Name = "default", "p"
	for _, r := range rules {
		for _, port := range []int32{80, 443} {
			if r.Port == 0 || r.Port == port {
				r := r
				r.Port = port
				p.Rules = append(p.Rules, r)
			}
		}
	}
	w.proxy.SetPart(key("p"), p)
	w.proxy.Commit()
}

// place makes a rule stand in one place of a port with TLS.
func (w *world) place(at route.Place, r route.Rule) {
	p := &route.Part{
		Ports:        []route.Port{{Port: at.Port, TLS: true}},
		Certificates: []route.Certificate{{Port: at.Port, Host: "secure.example", Secret: key("tls")}},
		Places:       []route.Place{at}, Rules: []route.Rule{r},
	}
	p.Namespace, p.Name = "default", "p"
	w.proxy.SetPart(key("p"), p)
	w.proxy.Commit()
}

// service says where a service's endpoints are, ready or not.
func (w *world) service(name, app string, endpoints map[string]bool) {
	svc := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if app != "" {
		svc.Spec.Ports[0].AppProtocol = &app
	}
	var slices []*discoveryv1.EndpointSlice
	for at, ready := range endpoints {
		a, err := net.ResolveTCPAddr("tcp", at)
		if err != nil {
			w.t.Fatal(err)
		}
		port := int32(a.Port)
		slices = append(slices, &discoveryv1.EndpointSlice{
			Ports:     []discoveryv1.EndpointPort{{Port: &port}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{a.IP.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		})
	}
	w.proxy.SetService(key(name), svc, slices)
	w.proxy.Commit()
}

func to(name string) []route.Backend {
	return []route.Backend{{Service: key(name), Port: 80, Weight: 1}}
}

// client is one whose every name leads to the proxy.
func (w *world) client(protocols func(*http.Protocols)) *http.Client {
	p := new(http.Protocols)
	protocols(p)
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			at := w.at[80]
			if strings.HasSuffix(addr, ":443") {
				at = w.at[443]
			}
			return (&net.Dialer{}).DialContext(ctx, network, at)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: p,
	}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func http1(p *http.Protocols) { p.SetHTTP1(true) }

func backend(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func get(c *http.Client, url string) (int, string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(b)), err
}

func certificate(t *testing.T, host string) *corev1.Secret {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{Data: map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}),
	}}
}

func TestAnswers(t *testing.T) {
	w := newWorld(t)
	at := backend(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Old", "1")
		fmt.Fprintf(rw, "%s %s %s for=%s proto=%s host=%s new=%s", r.Proto, r.Host, r.URL.Path,
			r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-New"))
	})
	w.service("web", "", map[string]bool{at: true})
	w.service("h2c", "kubernetes.io/h2c", map[string]bool{at: true})
	w.service("empty", "", nil)
	w.proxy.SetSecret(key("tls"), certificate(t, "secure.example"))
	w.route(
		route.Rule{Host: "secure.example", Backends: to("web")},
		route.Rule{Host: "h2c.example", Backends: to("h2c")},
		route.Rule{Host: "empty.example", Backends: to("empty")},
		route.Rule{Host: "none.example"},
		route.Rule{Host: "invalid.example", Backends: []route.Backend{{Weight: 1, Invalid: true}}},
		route.Rule{Host: "edit.example", Path: route.Path{Type: route.Prefix, Value: "/a"}, Backends: to("web"), Filters: route.Filters{
			Request: &route.Edit{Set: []route.Header{{Name: "X-New", Value: "yes"}}}, Response: &route.Edit{Remove: []string{"X-Old"}},
			Rewrite: &route.Rewrite{Host: "inner.example", Path: &route.PathChange{Value: "/b"}},
		}},
		route.Rule{Host: "redirect.example", Port: 80, Redirect: &route.Redirect{Scheme: "https", Status: 301}},
	)
	for _, c := range []struct {
		url    string
		status int
		body   string
	}{
		{"http://secure.example/x", 200, "HTTP/1.1 secure.example /x for=127.0.0.1 proto=http host=secure.example new="},
		{"https://secure.example/x", 200, "HTTP/1.1 secure.example /x for=127.0.0.1 proto=https host=secure.example new="},
		{"http://h2c.example/", 200, "HTTP/2.0 h2c.example / for=127.0.0.1 proto=http host=h2c.example new="},
		{"http://edit.example/a/c", 200, "HTTP/1.1 inner.example /b/c for=127.0.0.1 proto=http host=edit.example new=yes"},
		{"http://empty.example/", 503, "service default/empty has no ready endpoint"},
		{"http://none.example/", 500, "the route leads to no backend"},
		{"http://invalid.example/", 500, "the route leads to no backend"},
		{"http://nobody.example/", 404, "no route has this host and path"},
		{"http://secure.example/a/%2e%2e/b", 400, `the path has "." or ".." elements`},
		{"http://redirect.example/x?y=1", 301, ""},
	} {
		status, body, err := get(w.client(http1), c.url)
		if err != nil || status != c.status || body != c.body {
			t.Errorf("%s: %d %q, %v; want %d %q", c.url, status, body, err, c.status, c.body)
		}
	}
	if _, _, err := get(w.client(http1), "https://nobody.example/"); err == nil {
		t.Error("a host without a certificate was shown one")
	}
	for name, p := range map[string]func(*http.Protocols){
		"http://secure.example/":  func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
		"https://secure.example/": func(p *http.Protocols) { p.SetHTTP2(true) },
	} {
		resp, err := w.client(p).Get(name)
		if err != nil || resp.ProtoMajor != 2 || resp.StatusCode != 200 {
			t.Errorf("%s over HTTP/2: %+v, %v", name, resp, err)
			continue
		}
		resp.Body.Close()
	}
}

// TestReload: a table every few milliseconds, endpoints that come and go, and no
// request of new and of kept connections fails.
func TestReload(t *testing.T) {
	w := newWorld(t)
	var served [3]atomic.Int64
	ends := map[string]bool{}
	var list []string
	for i := range served {
		at := backend(t, func(rw http.ResponseWriter, r *http.Request) { served[i].Add(1); io.WriteString(rw, "ok") })
		list, ends[at] = append(list, at), true
	}
	w.service("web", "", ends)
	rule := route.Rule{Host: "web.example", Backends: to("web")}
	w.route(rule)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var asked atomic.Int64
	for i := range 8 {
		c := w.client(http1)
		c.Transport.(*http.Transport).DisableKeepAlives = i%2 == 0
		wg.Go(func() {
			for ctx.Err() == nil {
				if status, body, err := get(c, "http://web.example/"); err != nil || status != 200 || body != "ok" {
					t.Errorf("%d %q %v", status, body, err)
					return
				}
				asked.Add(1)
			}
		})
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := range 200 {
		<-tick.C
		rule.Path = route.Path{Type: route.Prefix, Value: strings.Repeat("/", i%2)}
		w.route(rule)
		w.service("web", "", map[string]bool{list[i%3]: false, list[(i+1)%3]: true, list[(i+2)%3]: true})
	}
	stop()
	wg.Wait()
	for i := range served {
		if served[i].Load() == 0 {
			t.Errorf("endpoint %d was never asked", i)
		}
	}
	t.Logf("%d requests during 200 reloads", asked.Load())
}

// An endpoint that cannot be connected to is passed over, for requests with a body too.
func TestDeadEndpoint(t *testing.T) {
	w := newWorld(t)
	at := backend(t, func(rw http.ResponseWriter, r *http.Request) { io.Copy(rw, r.Body) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	w.service("web", "", map[string]bool{at: true, dead: true})
	w.route(route.Rule{Backends: to("web")})
	c := w.client(http1)
	for range 10 {
		resp, err := c.Post("http://any.example/", "text/plain", strings.NewReader("said"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(b) != "said" {
			t.Fatalf("%d %q %v", resp.StatusCode, b, err)
		}
	}
}

// A request that was sent and must not arrive twice is not sent again.
func TestNoSecondPost(t *testing.T) {
	w := newWorld(t)
	var posts, gets atomic.Int64
	breaks := func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			posts.Add(1)
		} else {
			gets.Add(1)
		}
		c, _, err := rw.(http.Hijacker).Hijack()
		if err == nil {
			c.Close()
		}
	}
	w.service("web", "", map[string]bool{backend(t, breaks): true, backend(t, breaks): true})
	w.route(route.Rule{Backends: to("web")})
	resp, err := w.client(http1).Post("http://any.example/", "text/plain", strings.NewReader("pay"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway || posts.Load() != 1 {
		t.Errorf("status %d after %d tries", resp.StatusCode, posts.Load())
	}
	if status, _, err := get(w.client(http1), "http://any.example/"); err != nil || status != http.StatusBadGateway || gets.Load() < 2 {
		t.Errorf("status %d, %v after %d tries", status, err, gets.Load())
	}
}

func TestTimeouts(t *testing.T) {
	w := newWorld(t)
	at := backend(t, func(rw http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.service("web", "", map[string]bool{at: true})
	w.route(
		route.Rule{Host: "whole.example", Timeout: 50 * time.Millisecond, Backends: to("web")},
		route.Rule{Host: "try.example", BackendTimeout: 50 * time.Millisecond, Backends: to("web")},
	)
	for _, host := range []string{"whole", "try"} {
		if status, body, err := get(w.client(http1), "http://"+host+".example/"); err != nil || status != http.StatusGatewayTimeout {
			t.Errorf("%s: %d %q %v", host, status, body, err)
		}
	}
}

// TestUpgrade: a connection that became another protocol carries it both ways, also
// while tables change.
func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	at := backend(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			http.Error(rw, "no upgrade", http.StatusBadRequest)
			return
		}
		c, b, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(c, b)
	})
	w.service("web", "", map[string]bool{at: true})
	rule := route.Rule{Backends: to("web")}
	w.route(rule)
	get(w.client(http1), "http://any.example/") // the port is open
	c, err := net.Dial("tcp", w.at[80])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: any.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", resp, err)
	}
	for i := range 10 {
		w.route(rule)
		line := fmt.Sprintf("line %d\n", i)
		io.WriteString(c, line)
		if got, err := r.ReadString('\n'); err != nil || got != line {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

// TestPassthrough: a TLS connection reaches its backend as it is; other names are
// still ended here.
func TestPassthrough(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "behind") }))
	t.Cleanup(s.Close)
	at := backend(t, func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "here") })
	w.service("pass", "", map[string]bool{s.Listener.Addr().String(): true})
	w.service("web", "", map[string]bool{at: true})
	w.proxy.SetSecret(key("tls"), certificate(t, "secure.example"))
	w.route(
		route.Rule{Host: "*.pass.example", Port: 443, Passthrough: true, Backends: to("pass")},
		route.Rule{Backends: to("web")},
	)
	for url, want := range map[string]string{"https://a.pass.example/": "behind", "https://secure.example/": "here"} {
		if status, body, err := get(w.client(http1), url); err != nil || status != 200 || body != want {
			t.Errorf("%s: %d %q %v", url, status, body, err)
		}
	}
}

// TestTerminatedConnection: TLS ends here, and the backend gets the bytes within.
func TestTerminatedConnection(t *testing.T) {
	w := newWorld(t)
	at := backend(t, func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "plain") })
	w.service("plain", "", map[string]bool{at: true})
	w.proxy.SetSecret(key("tls"), certificate(t, "secure.example"))
	w.place(route.Place{Port: 443, Host: "secure.example", Terminate: true}, route.Rule{Passthrough: true, Backends: to("plain")})
	if status, body, err := get(w.client(http1), "https://secure.example/"); err != nil || status != 200 || body != "plain" {
		t.Errorf("%d %q %v", status, body, err)
	}
}

// TestLargeHeaders: a request whose headers are too large is refused.
func TestLargeHeaders(t *testing.T) {
	w := newWorld(t)
	w.service("web", "", nil)
	w.route(route.Rule{Backends: to("web")})
	r, err := http.NewRequest("GET", "http://any.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Large", strings.Repeat("x", 128<<10))
	resp, err := w.client(http1).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestMirror: the copy arrives, and the answer is the first one's.
func TestMirror(t *testing.T) {
	w := newWorld(t)
	copies := make(chan string, 1)
	at := backend(t, func(rw http.ResponseWriter, r *http.Request) { io.Copy(rw, r.Body) })
	also := backend(t, func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		copies <- string(b)
	})
	w.service("web", "", map[string]bool{at: true})
	w.service("also", "", map[string]bool{also: true})
	w.route(route.Rule{Backends: to("web"), Filters: route.Filters{Mirrors: []route.Mirror{{Backend: to("also")[0], Numerator: 1, Denominator: 1}}}})
	resp, err := w.client(http1).Post("http://any.example/", "text/plain", strings.NewReader("said"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "said" {
		t.Errorf("answered %q", b)
	}
	if got := <-copies; got != "said" {
		t.Errorf("the copy is %q", got)
	}
}

// TestWeights: shares follow weights; nothing goes to weight 0.
func TestWeights(t *testing.T) {
	w := newWorld(t)
	backends := []route.Backend{}
	for i, weight := range []int32{90, 10, 0} {
		name := fmt.Sprint("s", i)
		w.service(name, "", map[string]bool{backend(t, func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, name) }): true})
		backends = append(backends, route.Backend{Service: key(name), Port: 80, Weight: weight})
	}
	w.route(route.Rule{Backends: backends})
	counts := map[string]int{}
	c := w.client(http1)
	for range 500 {
		_, body, err := get(c, "http://any.example/")
		if err != nil {
			t.Fatal(err)
		}
		counts[body]++
	}
	if counts["s0"] < 400 || counts["s1"] < 20 || counts["s2"] != 0 {
		t.Error(counts)
	}
}

// Who came by an address of IPv6 is sent to one that is a URL.
func TestRedirectByAddress(t *testing.T) {
	w := newWorld(t)
	w.route(
		route.Rule{Port: 80, Redirect: &route.Redirect{Scheme: "https", Status: 301}},
		route.Rule{Port: 80, Path: route.Path{Type: route.Exact, Value: "/port"}, Redirect: &route.Redirect{Port: 8080, Status: 301}},
	)
	for url, want := range map[string]string{
		"http://[2001:db8::1]/x": "https://[2001:db8::1]/x", "http://[2001:db8::1]:8080/x": "https://[2001:db8::1]/x",
		"http://[2001:db8::1]/port": "http://[2001:db8::1]:8080/port",
	} {
		resp, err := w.client(http1).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Location"); got != want {
			t.Errorf("%s leads to %q, want %q", url, got, want)
		}
	}
}
