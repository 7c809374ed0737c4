package account_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/account"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const issuerURL = "https://kubernetes.default.svc.cluster.local"

type world struct {
	*store.Store
	now    time.Time
	issuer *account.Issuer
	check  *account.Checker
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	var err error
	w.Store, err = store.Open(t.Context(), store.Config{Now: func() time.Time { return w.now }, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	w.issuer = newIssuer(t, w)
	w.check = account.NewChecker(w.issuer, w.Store)
	w.write(t, func(tx *store.Tx) {
		tables.ServiceAccounts.Put(tx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "robot", UID: "u1"}})
		tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "u2"}})
		tables.Secrets.Put(tx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s", UID: "u3"}})
	})
	return w
}

func newIssuer(t testing.TB, w *world) *account.Issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i, err := account.NewIssuer(account.Config{Key: key, URL: issuerURL, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (w *world) write(t testing.TB, f func(tx *store.Tx)) {
	t.Helper()
	if _, err := w.Update(context.Background(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func robot() account.Bound {
	return account.Bound{Namespace: "a", Account: account.Ref{Name: "robot", UID: "u1"}}
}

// TestCheck issues tokens and lets things happen to them. A word of the wanted
// error says why a token is not good; empty: it is.
func TestCheck(t *testing.T) {
	pod, secret := robot(), robot()
	pod.Pod = &account.Ref{Name: "p", UID: "u2"}
	secret.Secret = &account.Ref{Name: "s", UID: "u3"}
	other := robot()
	other.Account.UID = "another"
	for _, c := range []struct {
		name      string
		bound     account.Bound
		audiences []string // of the token
		asked     []string
		after     func(t *testing.T, w *world)
		want      string
	}{
		{name: "plain", bound: robot()},
		{name: "for another audience", bound: robot(), audiences: []string{"vault"}, want: "audiences"},
		{name: "asked by that audience", bound: robot(), audiences: []string{"vault", "x"}, asked: []string{"x", "y"}},
		{name: "expired", bound: robot(), after: func(t *testing.T, w *world) { w.now = w.now.Add(time.Hour + time.Second) }, want: "expired"},
		{name: "another account of that name", bound: other, want: "service account a/robot"},
		{name: "account gone", bound: robot(), after: func(t *testing.T, w *world) {
			w.write(t, func(tx *store.Tx) { tables.ServiceAccounts.Delete(tx, object.Key{Namespace: "a", Name: "robot"}) })
		}, want: "gone"},
		{name: "bound to a pod", bound: pod},
		{name: "pod gone", bound: pod, after: func(t *testing.T, w *world) {
			w.write(t, func(tx *store.Tx) { tables.Pods.Delete(tx, object.Key{Namespace: "a", Name: "p"}) })
		}, want: "pod p"},
		{name: "pod ending", bound: pod, after: func(t *testing.T, w *world) { endPod(t, w, w.now.Add(30*time.Second)) }},
		{name: "pod should have ended", bound: pod, after: func(t *testing.T, w *world) { endPod(t, w, w.now.Add(-2*time.Minute)) }, want: "pod p"},
		{name: "bound to a secret", bound: secret},
		{name: "secret gone", bound: secret, after: func(t *testing.T, w *world) {
			w.write(t, func(tx *store.Tx) { tables.Secrets.Delete(tx, object.Key{Namespace: "a", Name: "s"}) })
		}, want: "secret s"},
	} {
		w := newWorld(t)
		token, ends, err := w.issuer.Issue(c.bound, c.audiences, time.Hour)
		if err != nil || !ends.Equal(w.now.Add(time.Hour)) {
			t.Fatal(err, ends)
		}
		if _, _, err := w.check.Check(token, append(c.audiences, issuerURL)); err != nil && c.name != "another account of that name" {
			t.Errorf("%s: not good from the start: %v", c.name, err)
		}
		if c.after != nil {
			c.after(t, w)
		}
		id, ok, err := w.check.Check(token, c.asked)
		switch {
		case c.want == "" && (err != nil || !ok || id.Account.Name != "robot"):
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func endPod(t *testing.T, w *world, at time.Time) {
	w.write(t, func(tx *store.Tx) {
		p, _ := tables.Pods.Get(tx, object.Key{Namespace: "a", Name: "p"})
		p = p.DeepCopy()
		p.DeletionTimestamp = &metav1.Time{Time: at}
		tables.Pods.Put(tx, p)
	})
}

// TestForged checks tokens that this cluster did not make.
func TestForged(t *testing.T) {
	w := newWorld(t)
	token, _, err := newIssuer(t, w).Issue(robot(), nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := w.check.Check(token, nil); !ok || err == nil || !strings.Contains(err.Error(), "not signed by this cluster") {
		t.Errorf("signed by another key: %v %v", ok, err)
	}
	good, _, err := w.issuer.Issue(robot(), nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	// alg none, with the good claims (RFC 8725, section 3.2).
	for _, bad := range []string{"", "a", "a.b.c", "eyJhbGciOiJub25lIn0." + parts[1] + ".", parts[0] + "." + parts[1] + ".", parts[0] + "." + parts[1] + ".AAAA"} {
		if id, ok, err := w.check.Check(bad, nil); id != nil || (ok && err == nil) {
			t.Errorf("%q is taken for a token: %v %v", bad, ok, err)
		}
	}
}

// TestKeeper fills a secret, and takes its token as long as the secret holds it.
func TestKeeper(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- account.NewKeeper(w.issuer, w.Store, []byte("PEM")).Run(ctx) }()
	defer func() { cancel(); <-done }()
	key := object.Key{Namespace: "a", Name: "held"}
	put := func(name, account string) {
		w.write(t, func(tx *store.Tx) {
			tables.Secrets.Put(tx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}}, Type: corev1.SecretTypeServiceAccountToken,
			})
		})
	}
	until := func(what string, f func(*store.Snapshot) bool) {
		t.Helper()
		for snap := w.Snapshot(); !f(snap); snap = w.Snapshot() {
			select {
			case <-snap.Next():
			case <-time.After(10 * time.Second):
				t.Fatal(what, "does not come")
			}
		}
	}
	put("held", "robot")
	var s *corev1.Secret
	until("the token", func(r *store.Snapshot) bool {
		s, _ = tables.Secrets.Get(r, key)
		return s != nil && len(s.Data["token"]) > 0
	})
	if string(s.Data["ca.crt"]) != "PEM" || string(s.Data["namespace"]) != "a" || s.Annotations[corev1.ServiceAccountUIDKey] != "u1" {
		t.Errorf("the secret is not complete: %v %v", s.Annotations, s.Data)
	}
	token := string(s.Data["token"])
	if id, ok, err := w.check.Check(token, nil); err != nil || !ok || id.Account.Name != "robot" {
		t.Errorf("the secret's token: %v %v", ok, err)
	}
	put("lost", "nobody")
	until("the end of a secret without an account", func(r *store.Snapshot) bool {
		_, ok := tables.Secrets.Row(r, object.Key{Namespace: "a", Name: "lost"})
		return !ok
	})
	w.write(t, func(tx *store.Tx) { tables.ServiceAccounts.Delete(tx, object.Key{Namespace: "a", Name: "robot"}) })
	until("the end of the account's secret", func(r *store.Snapshot) bool { _, ok := tables.Secrets.Row(r, key); return !ok })
	if _, _, err := w.check.Check(token, nil); err == nil {
		t.Error("the token is good without its account")
	}
}

// TestKeySet checks that what the pages say verifies a token.
func TestKeySet(t *testing.T) {
	w := newWorld(t)
	token, _, err := w.issuer.Issue(robot(), []string{"x"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.issuer.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(b, &keys); err != nil || len(keys.Keys) != 1 || !keys.Keys[0].IsPublic() {
		t.Fatalf("the key set is %s: %v", b, err)
	}
	parsed, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.Verify(keys.Key(parsed.Signatures[0].Header.KeyID)[0]); err != nil {
		t.Error(err)
	}
}

// BenchmarkCheck measures a token that was seen before.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	token, _, err := w.issuer.Issue(robot(), nil, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := w.check.Check(token, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIssue measures the signing of a token.
func BenchmarkIssue(b *testing.B) {
	w := newWorld(b)
	for b.Loop() {
		if _, _, err := w.issuer.Issue(robot(), nil, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
