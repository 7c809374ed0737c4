package provider

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
)

// program writes a provider that notes each request in a file of its own name, and
// answers with what is in ANSWER.
func program(t *testing.T, dir, name string) (asked string) {
	t.Helper()
	asked = filepath.Join(dir, name+".asked")
	script := "#!/bin/sh\ncat >> " + asked + "\necho >> " + asked + "\nprintf %s \"$ANSWER\"\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return asked
}

func requests(t *testing.T, asked string) []string {
	t.Helper()
	b, err := os.ReadFile(asked)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// configure writes a configuration of one provider named p.
func configure(t *testing.T, dir, fields string) string {
	t.Helper()
	path := filepath.Join(dir, "config.yaml")
	text := "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- {name: p, apiVersion: credentialprovider.kubelet.k8s.io/v1, " + fields + "}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// respond returns a provider's answer as a value of the variable ANSWER, in JSON.
func respond(fields string) string {
	return `env: [{name: ANSWER, value: '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",` + fields + `}'}]`
}

func account(role string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "sa", UID: "1", Annotations: map[string]string{"a.com/role": role, "a.com/other": "no"},
	}}
}

func open(t *testing.T, dir, fields string) *Providers {
	t.Helper()
	p, err := Open(Config{Path: configure(t, dir, fields), BinDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCacheKeyTypes: an answer holds for its image, its registry or everything, for as
// long as it says.
func TestCacheKeyTypes(t *testing.T) {
	refs := []string{"a.io/x:1", "a.io/x:2", "a.io/y", "b.io/x"}
	for _, tt := range []struct {
		answer string
		want   int // programs run for refs, twice
	}{
		{`"cacheKeyType":"Image","auth":{"*.io":{"username":"u","password":"p"}}`, 3},
		{`"cacheKeyType":"Registry","auth":{"*.io":{"username":"u","password":"p"}}`, 2},
		{`"cacheKeyType":"Global","auth":{"*.io":{"username":"u","password":"p"}}`, 1},
		{`"cacheKeyType":"Global","cacheDuration":"0s","auth":{"*.io":{"username":"u","password":"p"}}`, 8},
		{`"cacheKeyType":"Registry","cacheDuration":"1s"`, 4},
	} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			asked := program(t, dir, "p")
			p := open(t, dir, `matchImages: ["*.io"], defaultCacheDuration: 1h, `+respond(tt.answer))
			for range 2 {
				for _, ref := range refs {
					got, err := p.Credentials(t.Context(), ref, &corev1.Pod{})
					if err != nil || strings.Contains(tt.answer, "auth") != (len(got) == 1 && got[0].Username == "u" && got[0].Password == "p") {
						t.Errorf("%s: %s: %+v, %v", tt.answer, ref, got, err)
					}
				}
				time.Sleep(2 * time.Second)
			}
			if got := requests(t, asked); len(got) != tt.want || !strings.Contains(got[0], `"image":"a.io/x"`) {
				t.Errorf("%s: asked %d times, want %d: %s", tt.answer, len(got), tt.want, got)
			}
			if got, err := p.Credentials(t.Context(), "c.com/x", &corev1.Pod{}); err != nil || got != nil {
				t.Errorf("an image that nobody is for: %v, %v", got, err)
			}
		})
	}
}

// TestOrder: of an answer's credentials the most exact are tried first, and those for
// other images not at all.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	program(t, dir, "p")
	p := open(t, dir, `matchImages: [docker.io], defaultCacheDuration: 1h, `+respond(`"cacheKeyType":"Image","auth":{
"*.io":{"username":"any"},"docker.io":{"username":"hub"},"docker.io/library/web":{"username":"web"},"docker.io/library/other":{"username":"other"}}`))
	got, err := p.Credentials(t.Context(), "web", &corev1.Pod{})
	if err != nil || len(got) != 2 || got[0].Username != "web" || got[1].Username != "hub" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAccounts: a program that asks for the pod's account gets its token and the
// annotations that it names; answers are kept for each account or token.
func TestAccounts(t *testing.T) {
	for cacheType, want := range map[string]int{"ServiceAccount": 2, "Token": 3} {
		dir := t.TempDir()
		asked := program(t, dir, "p")
		p := open(t, dir, `matchImages: [a.io], defaultCacheDuration: 1h, tokenAttributes: {serviceAccountTokenAudience: reg, cacheType: `+cacheType+`,
  requireServiceAccount: true, requiredServiceAccountAnnotationKeys: [a.com/role]}, `+respond(`"cacheKeyType":"Global","auth":{"a.io":{"username":"u"}}`))
		for _, one := range []struct{ token, sa, role string }{{"1", "sa", "r"}, {"2", "sa", "r"}, {"3", "sa", "s"}, {"4", "", ""}} {
			p.cfg.Account = func(*corev1.Pod) (*corev1.ServiceAccount, bool) { return account(one.role), one.sa != "" }
			p.cfg.Token = func(*corev1.Pod, string) (string, error) { return "token-" + one.token, nil }
			got, err := p.Credentials(t.Context(), "a.io/x", &corev1.Pod{})
			if err != nil || (len(got) == 1) != (one.sa != "") {
				t.Errorf("%s: pod %s: %v, %v", cacheType, one.token, got, err)
			}
		}
		got := requests(t, asked)
		if len(got) != want || !strings.Contains(got[0], `"serviceAccountToken":"token-1"`) || !strings.Contains(got[0], `"a.com/role":"r"`) || strings.Contains(got[0], "a.com/other") {
			t.Errorf("%s: asked %d times, want %d: %s", cacheType, len(got), want, got)
		}
		p.cfg.Account = func(*corev1.Pod) (*corev1.ServiceAccount, bool) { return &corev1.ServiceAccount{}, true }
		if _, err := p.Credentials(t.Context(), "a.io/x", &corev1.Pod{}); err == nil || !strings.Contains(err.Error(), "lacks the annotation a.com/role") {
			t.Errorf("an account without the annotation: %v", err)
		}
	}
}

// TestAtOnce: many that ask for the same image at once start one program, also when
// the first of them goes away.
func TestAtOnce(t *testing.T) {
	dir := t.TempDir()
	asked := program(t, dir, "p")
	p := open(t, dir, `matchImages: [a.io], defaultCacheDuration: 1h, `+respond(`"cacheKeyType":"Image","auth":{"a.io":{"username":"u"}}`))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Credentials(gone, "a.io/x", &corev1.Pod{}); err == nil {
		t.Error("one that went away got an answer")
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := p.Credentials(t.Context(), "a.io/x", &corev1.Pod{}); err != nil || len(got) != 1 {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if got := requests(t, asked); len(got) != 1 {
		t.Errorf("asked %d times", len(got))
	}
}

// TestBadAnswers: a program that fails says why, and gives nothing.
func TestBadAnswers(t *testing.T) {
	for script, want := range map[string]string{
		"echo no key in the vault >&2; exit 3":         "exit status 3: no key in the vault",
		"echo words":                                   "no JSON",
		`echo '{"kind":"CredentialProviderResponse"}'`: "instead of credentialprovider.kubelet.k8s.io/v1",
		"head -c 2000000 /dev/zero":                    "more than 1048576 bytes",
		fmt.Sprintf("echo '%s'", `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Town"}`): `cacheKeyType "Town"`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "p"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		p := open(t, dir, "matchImages: [a.io], defaultCacheDuration: 1h")
		got, err := p.Credentials(t.Context(), "a.io/x", &corev1.Pod{})
		if got != nil || err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"p"`) {
			t.Errorf("%s: %v, %v", script, got, err)
		}
	}
}

// TestOpen: a configuration that cannot be meant says which field is wrong.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	program(t, dir, "p")
	token := func(fields string) string {
		return "matchImages: [a.io], defaultCacheDuration: 1h, tokenAttributes: {" + fields + "}"
	}
	for fields, want := range map[string]string{
		"matchImages: [a.io]":                                                "defaultCacheDuration",
		"defaultCacheDuration: 1h":                                           "matchImages is empty",
		"matchImages: ['a.io:*'], defaultCacheDuration: 1h":                  "matchImages",
		"matchImages: ['a.io/*'], defaultCacheDuration: 1h":                  "matchImages",
		"matchImages: [a.io], defaultCacheDuration: 1h}\n- {name: ../q":      "name must be",
		"matchImages: [a.io], defaultCacheDuration: 1h, words: 1":            "unknown field",
		token("cacheType: Token, requireServiceAccount: true"):               "serviceAccountTokenAudience",
		token("serviceAccountTokenAudience: a, requireServiceAccount: true"): "cacheType",
		token("serviceAccountTokenAudience: a, cacheType: Token"):            "requireServiceAccount",
		token("serviceAccountTokenAudience: a, cacheType: Token, requireServiceAccount: false, requiredServiceAccountAnnotationKeys: [a]"):                                           "need requireServiceAccount",
		token("serviceAccountTokenAudience: a, cacheType: Token, requireServiceAccount: true, requiredServiceAccountAnnotationKeys: [a], optionalServiceAccountAnnotationKeys: [a]"): "twice",
	} {
		_, err := Open(Config{Path: configure(t, dir, fields), BinDir: dir})
		if !kind.Is(err, kind.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", fields, err, want)
		}
	}
	good := configure(t, dir, "matchImages: [a.io], defaultCacheDuration: 1h")
	if _, err := Open(Config{Path: good, BinDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "--image-credential-provider-bin-dir") {
		t.Errorf("a program that is not there: %v", err)
	}
	if _, err := Open(Config{Path: dir, BinDir: dir}); err != nil {
		t.Errorf("a directory of configurations: %v", err)
	}
	if _, err := Open(Config{Path: t.TempDir(), BinDir: dir}); err == nil || !strings.Contains(err.Error(), "name at least one") {
		t.Errorf("an empty directory: %v", err)
	}
}
