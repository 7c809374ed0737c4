package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"trireme/test/cluster"
)

// acmeManifest asks an ACME server for certificates: of a host that leads here, by way of
// a redirect, of one that the server's resolver does not know, and of a wildcard.
const acmeManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [` + webContainer + `]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {trireme.dev/certificate: acme, trireme.dev/https-redirect: "true"}}
spec:
  tls: [{hosts: [web.acme.test], secretName: web-tls}]
  rules:
  - host: web.acme.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: elsewhere, annotations: {trireme.dev/certificate: acme}}
spec:
  tls: [{hosts: [elsewhere.test], secretName: elsewhere-tls}]
  defaultBackend: {service: {name: web, port: {number: 80}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: wild, annotations: {trireme.dev/certificate: acme}}
spec:
  tls: [{hosts: ["*.acme.test"], secretName: wild-tls}]
  defaultBackend: {service: {name: web, port: {number: 80}}}
`

// acmeTime is enough for a try that came to nothing, and the next one.
const acmeTime = 4 * time.Minute

// TestACME: an Ingress that asks for it has a certificate of an ACME server, which comes
// to port 80 of the node to see that the host leads there; it is renewed before it ends.
// Who cannot have one is told why.
func TestACME(t *testing.T) {
	c := ownCluster(t, 1)
	h := c.Hosts[0]
	p := startPebble(t, h)
	if err := bringUp(t.Context(), h, "--acme-directory", "https://"+h.Address+":14000/dir", "--acme-contact", "admin@acme.test", "--acme-ca-file", p.ca); err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, h: h, namespace: "default"}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := k.run(context.Background(), "", "get", "events")
			t.Logf("events:\n%s", out)
		}
	})
	k.apply(acmeManifest)
	k.must("rollout", "status", "deployment/web", "--timeout=60s")
	root := p.root(t)
	shown := func() (cert *x509.Certificate, err error) {
		conn, err := c.Outside().Dial(t.Context(), "tcp", net.JoinHostPort(h.Address, "443"))
		if err != nil {
			return nil, err
		}
		secure := tls.Client(conn, &tls.Config{RootCAs: root, ServerName: "web.acme.test"})
		defer secure.Close()
		if err := secure.HandshakeContext(t.Context()); err != nil {
			return nil, err
		}
		return secure.ConnectionState().PeerCertificates[0], nil
	}
	var first *x509.Certificate
	await(t, h, acmeTime, "a certificate of the server's is shown", func() (err error) {
		first, err = shown()
		return err
	})
	answers(t, c, root, map[string]string{
		"https://web.acme.test/":                            "HTTP/2.0 200",
		"http://web.acme.test/":                             "HTTP/1.1 308 https://web.acme.test/",
		"http://web.acme.test/.well-known/acme-challenge/x": "HTTP/1.1 308 https://web.acme.test/.well-known/acme-challenge/x",
	})
	for name, want := range map[string][2]string{
		"wild": {"CertificateRefused", `"*.acme.test" is a wildcard`}, "elsewhere": {"CertificateFailed", "elsewhere.test"}, "web": {"CertificateIssued", "web-tls"},
	} {
		await(t, h, acmeTime, "ingress "+name+" has an event", func() error {
			out := k.must("get", "events", "--field-selector", "involvedObject.name="+name+",reason="+want[0], "-o", "jsonpath={.items[*].message}")
			if !strings.Contains(out, "spec.tls[0]") || !strings.Contains(out, want[1]) {
				return errors.New(out)
			}
			return nil
		})
	}
	await(t, h, acmeTime, "the certificate is renewed", func() error {
		now, err := shown()
		if err == nil && now.SerialNumber.Cmp(first.SerialNumber) == 0 {
			err = errNotYet
		}
		return err
	})
	if out := k.must("get", "secrets", "-o", "name"); strings.Contains(out, "wild-tls") || strings.Contains(out, "elsewhere-tls\n") {
		t.Errorf("secrets: %s", out)
	}
}

// pebble is a test server of ACME.
type pebble struct {
	h  *cluster.Host
	ca string // file of its own certificate
}

// startPebble runs Let's Encrypt's test server on a host until the test ends. Its
// certificates hold for 24 s; every name below acme.test leads to the host.
func startPebble(t *testing.T, h *cluster.Host) *pebble {
	t.Helper()
	path := software(t, "github.com/letsencrypt/pebble/v2/cmd/pebble")
	certs, _ := webhookCerts(t, h)
	config := filepath.Join(t.TempDir(), "pebble.json")
	b, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": h.Address + ":14000", "managementListenAddress": h.Address + ":15000", "httpPort": 80, "tlsPort": 443,
		"certificate": filepath.Join(certs, "tls.crt"), "privateKey": filepath.Join(certs, "tls.key"), "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "short", "validityPeriod": 24}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := h.Command(t.Context(), path, "-config", config, "-dnsserver", resolver(t, h))
	cmd.Env = append(cmd.Env, "PEBBLE_VA_NOSLEEP=1")
	runUntilEnd(t, cmd)
	return &pebble{h: h, ca: filepath.Join(certs, "tls.crt")}
}

// runUntilEnd runs a command until the test ends, and logs what it said where that failed.
func runUntilEnd(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be gone already
		_ = cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", cmd, b[max(0, len(b)-8000):])
		}
		log.Close()
	})
}

// root returns who signs the server's certificates.
func (p *pebble) root(t *testing.T) *x509.CertPool {
	t.Helper()
	own, err := os.ReadFile(p.ca)
	if err != nil {
		t.Fatal(err)
	}
	trusts := x509.NewCertPool()
	trusts.AppendCertsFromPEM(own)
	tr := &http.Transport{DialContext: p.h.Dial, TLSClientConfig: &tls.Config{RootCAs: trusts}}
	defer tr.CloseIdleConnections()
	root := x509.NewCertPool()
	await(t, p.h, time.Minute, "the server says who signs", func() error {
		resp, err := (&http.Client{Transport: tr}).Get("https://" + p.h.Address + ":15000/roots/0")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && !root.AppendCertsFromPEM(b) {
			err = fmt.Errorf("%s: %s", resp.Status, b)
		}
		return err
	})
	return root
}

// resolver answers for names below acme.test with a host's address, for others that there
// are none, and returns where it does, over TCP.
func resolver(t *testing.T, h *cluster.Host) string {
	t.Helper()
	var l net.Listener
	err := h.Within(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(h.Address, "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		switch ask := q.Question[0]; {
		case !dns.IsSubDomain("acme.test.", ask.Name):
			m.Rcode = dns.RcodeNameError
		case ask.Qtype == dns.TypeA:
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: ask.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(h.Address)}}
		}
		_ = w.WriteMsg(m) // who asked asks again
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l.Addr().String()
}
