package test

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"trireme/test/cluster"
)

// The user whom a locked registry knows.
const (
	registryUser     = "me"
	registryPassword = "pa:ss"
)

// locked is a registry that serves one user alone.
type locked struct {
	images http.Handler

	mu     sync.Mutex
	pulled []string // the repositories that were read, in turn
}

// ServeHTTP implements http.Handler.
func (l *locked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != registryUser || password != registryPassword {
		w.Header().Set("WWW-Authenticate", `Basic realm="locked"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if parts := strings.Split(r.URL.Path, "/"); len(parts) > 3 && (r.Method == http.MethodGet || r.Method == http.MethodHead) { // /v2/REPOSITORY/…
		l.mu.Lock()
		l.pulled = append(l.pulled, parts[2])
		l.mu.Unlock()
	}
	l.images.ServeHTTP(w, r)
}

// turns returns the repositories that were read, each time that another one's turn came.
func (l *locked) turns() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Compact(slices.Clone(l.pulled))
}

// lockedRegistry serves the busybox image under some names on a host, and returns the
// registry and its host and port.
func lockedRegistry(t *testing.T, h *cluster.Host, repos ...string) (*locked, string) {
	t.Helper()
	reg := &locked{images: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	srv := httptest.NewUnstartedServer(reg)
	if err := h.Within(func() error {
		l, err := net.Listen("tcp", h.Address+":0")
		if err == nil {
			_ = srv.Listener.Close()
			srv.Listener = l
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Close)
	at := srv.Listener.Addr().String()
	tar, err := busyboxArchive()
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(tar, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, repo := range repos {
		ref, err := name.NewTag(at+"/"+repo, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		user := &authn.Basic{Username: registryUser, Password: registryPassword}
		if err := remote.Write(ref, image, remote.WithAuth(user), remote.WithTransport(&http.Transport{DialContext: h.Dial})); err != nil {
			t.Fatal(err)
		}
	}
	reg.mu.Lock()
	reg.pulled = nil
	reg.mu.Unlock()
	settings := filepath.Join(h.Root, "agent", "registries", at, "hosts.toml")
	if err := os.MkdirAll(filepath.Dir(settings), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(settings, []byte("server = \"http://"+at+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return reg, at
}

// TestPullSecrets: a registry that wants a password gives its images to pods that
// have it, by a secret of theirs or of their service account, and to no others.
func TestPullSecrets(t *testing.T) {
	k := newClient(t, machine(t))
	_, at := lockedRegistry(t, k.h, "one:1", "two:1", "three:1")
	pair := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + registryPassword))
	k.must("create", "secret", "docker-registry", "right", "--docker-server="+at, "--docker-username="+registryUser, "--docker-password="+registryPassword)
	k.must("create", "secret", "generic", "url", "--type=kubernetes.io/dockerconfigjson",
		"--from-literal=.dockerconfigjson="+fmt.Sprintf(`{"auths":{"http://%s/v2/":{"auth":%q}}}`, at, pair))
	k.must("create", "secret", "docker-registry", "wrong", "--docker-server="+at, "--docker-username="+registryUser, "--docker-password=no")
	k.must("create", "serviceaccount", "bearer")
	k.must("patch", "serviceaccount", "bearer", "-p", `{"imagePullSecrets":[{"name":"right"}]}`)
	pod := func(name, repo, more string) {
		k.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  terminationGracePeriodSeconds: 1\n" + more +
			"  containers: [{name: c, image: \"" + at + "/" + repo + "\", imagePullPolicy: Always, command: [sleep, \"1000\"]}]\n")
	}
	pod("secret", "one:1", "  imagePullSecrets: [{name: wrong}, {name: right}]\n")
	pod("address", "two:1", "  imagePullSecrets: [{name: url}]\n")
	pod("account", "three:1", "  serviceAccountName: bearer\n")
	pod("stranger", "one:1", "")
	pod("guesser", "one:1", "  imagePullSecrets: [{name: wrong}]\n")
	k.must("wait", "--for=condition=Ready", "pod/secret", "pod/address", "pod/account", "--timeout=60s")
	for _, name := range []string{"stranger", "guesser"} {
		await(t, k.h, 30*time.Second, name+" is refused", func() error {
			got := k.must("get", "pod", name, "-o", "jsonpath={.status.containerStatuses[0].state.waiting}")
			if !strings.Contains(got, "ImagePullBackOff") || !strings.Contains(got, "uthoriz") {
				return fmt.Errorf("it is %s", got)
			}
			return nil
		})
	}
}

// TestCredentialProviders: the node's own programs know a registry's password, for pods
// that have no secret; images are pulled one at a time where the node wants that.
func TestCredentialProviders(t *testing.T) {
	h := ownMachines(t, 1)[0]
	reg, at := lockedRegistry(t, h, "one:1", "two:1", "three:1")
	dir := t.TempDir()
	config, asked := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "asked")
	for path, text := range map[string]string{
		config: fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: vault
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: [%q]
  defaultCacheDuration: 1h
  args: [%q]
  env: [{name: PASSWORD, value: %q}]
  tokenAttributes: {serviceAccountTokenAudience: vault, cacheType: ServiceAccount, requireServiceAccount: true}
- name: shut
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["127.0.0.1:1"]
  defaultCacheDuration: 1h
`, at, asked, registryPassword),
		filepath.Join(dir, "shut"): "#!/bin/sh\necho the vault is shut >&2; exit 3\n",
		filepath.Join(dir, "vault"): `#!/bin/sh
cat >> "$1"; echo >> "$1"
grep -q '"serviceAccountToken":"ey' "$1" || exit 4
echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry",
"auth":{"` + at + `":{"username":"` + registryUser + `","password":"'"$PASSWORD"'"}}}'
`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := h.Trireme(t.Context(), "up", "--image-credential-provider-config", config); err == nil || !strings.Contains(out+err.Error(), "need each other") {
		t.Errorf("half of the flags: %v %s", err, out)
	}
	if err := bringUp(t.Context(), h, "--image-credential-provider-config", config, "--image-credential-provider-bin-dir", dir, "--serialize-image-pulls"); err != nil {
		t.Fatal(err)
	}
	k := newClient(t, h)
	k.must("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
	k.must("create", "clusterrole", "vault", "--verb=get", "--resource=pods") // its rule is made by hand: kubectl knows no such resource
	k.must("patch", "clusterrole", "vault", "--type=merge", "-p",
		`{"rules":[{"apiGroups":[""],"resources":["vault"],"verbs":["request-serviceaccounts-token-audience"],"resourceNames":["default"]}]}`)
	k.must("create", "clusterrolebinding", "vault", "--clusterrole=vault", "--group=system:nodes")
	pods := ""
	for _, name := range []string{"one", "two", "three"} {
		pods += "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  terminationGracePeriodSeconds: 1\n" +
			"  containers: [{name: c, image: \"" + at + "/" + name + ":1\", imagePullPolicy: Always, command: [sleep, \"1000\"]}]\n"
	}
	k.apply(pods)
	k.must("run", "locked-out", "--image=127.0.0.1:1/any:1")
	k.must("wait", "--for=condition=Ready", "pod/one", "pod/two", "pod/three", "--timeout=60s")
	if turns := reg.turns(); len(turns) != 3 {
		t.Errorf("the images were pulled at once: %s", turns)
	}
	b, err := os.ReadFile(asked)
	if err != nil || strings.Count(string(b), "CredentialProviderRequest") != 1 {
		t.Errorf("the program was asked (%v):\n%s\nwant once for the registry", err, b)
	}
	await(t, h, 30*time.Second, "a pod says which program failed", func() error {
		got := k.must("get", "pod", "locked-out", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
		if !strings.Contains(got, `image credential provider "shut": exit status 3: the vault is shut`) {
			return fmt.Errorf("it says %s", got)
		}
		return nil
	})
}
