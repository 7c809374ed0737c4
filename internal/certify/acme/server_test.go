package acme_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const directory = "https://acme.test/dir"

// server is an ACME server that believes every signature; test/acme_test.go has one that
// does not. It asks for tokens what the rows of routes say, as nodes would.
type server struct {
	t     *testing.T
	store *store.Store
	key   crypto.Signer
	ca    *x509.Certificate
	life  time.Duration

	mu       sync.Mutex
	orders   []*certificateOrder
	calls    map[string]int     // requests by what they ask for
	unproved map[string]bool    // hosts that it finds elsewhere
	deaf     map[string]bool    // nodes that answer otherwise
	limited  time.Duration      // new orders are refused for so long
	finalize chan struct{}      // finalizing waits for it; nil: it does not
	keys     []crypto.PublicKey // of the certificates
}

type certificateOrder struct {
	hosts  []string
	status string
	chain  []byte
	tokens map[string]string // by host: pending, valid, invalid
}

func newServer(t *testing.T, s *store.Store) *server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign}
	return &server{t: t, store: s, key: key, ca: ca, life: 90 * 24 * time.Hour, calls: map[string]int{}, unproved: map[string]bool{}, deaf: map[string]bool{}}
}

// RoundTrip answers for the server and for nodes.
func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "acme.test" {
		return s.node(r), nil
	}
	w := httptest.NewRecorder()
	s.serve(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// node answers as a node does.
func (s *server) node(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	s.mu.Lock()
	deaf := s.deaf[r.URL.Hostname()]
	s.mu.Unlock()
	if a := s.answer(r.Host, r.URL.Path); a != "" && !deaf {
		fmt.Fprint(w, a)
	} else {
		w.WriteHeader(http.StatusNotFound)
	}
	return w.Result()
}

// answer is what nodes answer.
func (s *server) answer(host, path string) string {
	var parts []*route.Part
	for p := range tables.Routes.All(s.store.Snapshot()) {
		parts = append(parts, p)
	}
	r := route.Compile(parts).Match(&route.Request{Port: 80, Host: host, Path: path, Method: "GET", Header: http.Header{}.Values})
	if r == nil || r.Respond == nil {
		return ""
	}
	return r.Respond.Body
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[strings.Split(r.URL.Path, "/")[1]]++
	w.Header().Set("Replay-Nonce", fmt.Sprint(len(s.calls), time.Now().UnixNano()))
	var body struct{ Payload string }
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			s.t.Error(err)
		}
	}
	payload, err := base64.RawURLEncoding.DecodeString(body.Payload)
	if err != nil {
		s.t.Error(err)
	}
	n, _ := strconv.Atoi(path.Base(r.URL.Path)) // 0 where there is no number
	switch what, _, _ := strings.Cut(r.URL.Path[1:], "/"); what {
	case "dir":
		reply(w, 200, map[string]any{"newNonce": at("nonce"), "newAccount": at("account"), "newOrder": at("new")})
	case "nonce":
	case "account":
		w.Header().Set("Location", at("accounts/1"))
		reply(w, map[bool]int{true: 201, false: 200}[s.calls["account"] == 1], map[string]any{"status": "valid"})
	case "accounts":
		reply(w, 200, map[string]any{"status": "valid"})
	case "new":
		s.order(w, payload)
	case "order":
		s.show(w, n)
	case "authz":
		s.authorization(w, n, path.Base(path.Dir(r.URL.Path)))
	case "challenge":
		s.challenge(w, n, path.Base(path.Dir(r.URL.Path)))
	case "finalize":
		if hold := s.finalize; hold != nil {
			s.mu.Unlock()
			select {
			case <-hold:
			case <-r.Context().Done():
			}
			s.mu.Lock()
		}
		s.sign(w, n, payload)
	case "cert":
		w.Write(s.orders[n].chain)
	default:
		s.t.Errorf("a request for %s", r.URL)
	}
}

func at(path string) string { return "https://acme.test/" + path }

func reply(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func problem(kind, detail string) map[string]any {
	return map[string]any{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail}
}

func (s *server) order(w http.ResponseWriter, payload []byte) {
	if s.limited > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(s.limited.Seconds())))
		reply(w, http.StatusTooManyRequests, problem("rateLimited", "too many"))
		return
	}
	var asked struct{ Identifiers []struct{ Value string } }
	if err := json.Unmarshal(payload, &asked); err != nil {
		s.t.Error(err)
	}
	o := &certificateOrder{status: "pending", tokens: map[string]string{}}
	for _, i := range asked.Identifiers {
		o.hosts, o.tokens[i.Value] = append(o.hosts, i.Value), "pending"
	}
	s.orders = append(s.orders, o)
	w.Header().Set("Location", at(fmt.Sprint("order/", len(s.orders)-1)))
	w.WriteHeader(http.StatusCreated)
	s.show(w, len(s.orders)-1)
}

func (s *server) show(w http.ResponseWriter, n int) {
	o := s.orders[n]
	body := map[string]any{"status": o.status, "finalize": at(fmt.Sprint("finalize/", n)), "certificate": at(fmt.Sprint("cert/", n))}
	var urls []string
	for _, h := range o.hosts {
		urls = append(urls, at(fmt.Sprint("authz/", h, "/", n)))
	}
	body["authorizations"] = urls
	_ = json.NewEncoder(w).Encode(body)
}

func (s *server) authorization(w http.ResponseWriter, n int, host string) {
	state := s.orders[n].tokens[host]
	c := map[string]any{"type": "http-01", "url": at(fmt.Sprint("challenge/", host, "/", n)), "token": fmt.Sprint("token", n, host), "status": state}
	if state == "invalid" {
		c["error"] = problem("unauthorized", "it is somewhere else")
	}
	reply(w, 200, map[string]any{
		"status": state, "identifier": map[string]string{"type": "dns", "value": host},
		"challenges": []any{map[string]any{"type": "dns-01", "url": at("no"), "token": "no", "status": "pending"}, c},
	})
}

// challenge is told to ask.
func (s *server) challenge(w http.ResponseWriter, n int, host string) {
	o, token := s.orders[n], fmt.Sprint("token", n, host)
	o.tokens[host] = "valid"
	if s.unproved[host] || !strings.HasPrefix(s.answer(host, "/.well-known/acme-challenge/"+token), token+".") {
		o.tokens[host], o.status = "invalid", "invalid"
	}
	ready := o.status == "pending"
	for _, state := range o.tokens {
		ready = ready && state == "valid"
	}
	if ready {
		o.status = "ready"
	}
	reply(w, 200, map[string]any{"type": "http-01", "url": at("challenge"), "token": token, "status": o.tokens[host]})
}

func (s *server) sign(w http.ResponseWriter, n int, payload []byte) {
	var asked struct{ CSR string }
	der, err := base64.RawURLEncoding.DecodeString(func() string { _ = json.Unmarshal(payload, &asked); return asked.CSR }())
	if err != nil {
		s.t.Error(err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		s.t.Error(err)
		return
	}
	o := s.orders[n]
	if o.status != "ready" {
		reply(w, http.StatusForbidden, problem("orderNotReady", o.status))
		return
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(int64(n + 2)), DNSNames: request.DNSNames, NotBefore: time.Now(), NotAfter: time.Now().Add(s.life)}
	if der, err = x509.CreateCertificate(rand.Reader, c, s.ca, request.PublicKey, s.key); err != nil {
		s.t.Error(err)
	}
	s.keys = append(s.keys, request.PublicKey)
	var chain bytes.Buffer
	_ = pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	o.status, o.chain = "valid", chain.Bytes()
	s.show(w, n)
}
