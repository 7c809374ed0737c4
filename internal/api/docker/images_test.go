package docker

import (
	"encoding/base64"
	"encoding/json"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/moby/api/types/image"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/access"
	"trireme/internal/store"
	"trireme/internal/tables"
)

var root = access.User{Name: "root", Groups: []string{access.Masters}}

// TestImagesOfAllNodes: an image that several nodes have is one, by its digest, with all of
// its names; what has no digest is known by its name.
func TestImagesOfAllNodes(t *testing.T) {
	d, _ := newDoor(t)
	digest := "sha256:" + strings.Repeat("a", 64)
	if _, err := d.store.Update(t.Context(), func(tx *store.Tx) error {
		for node, images := range map[string][]corev1.ContainerImage{
			"n1": {{Names: []string{"docker.io/library/web:1", "docker.io/library/web@" + digest}, SizeBytes: 7}},
			"n2": {{Names: []string{"reg.example/web:2", "reg.example/web@" + digest}, SizeBytes: 7}, {Names: []string{"trireme.local/own:1"}, SizeBytes: 9}},
		} {
			tables.Nodes.Put(tx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}, Status: corev1.NodeStatus{Images: images}})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	code, body := ask(t, d, root, http.MethodGet, "/images/json", "")
	var list []image.Summary
	if err := json.Unmarshal([]byte(body), &list); err != nil || code != http.StatusOK || len(list) != 2 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	for _, i := range list {
		if i.Size == 7 && (i.ID != digest || strings.Join(i.RepoTags, " ") != "web:1 reg.example/web:2" || len(i.RepoDigests) != 2) {
			t.Errorf("the image of both nodes: %+v", i)
		}
	}
	for path, want := range map[string]int{"/images/json?filters=%7B%22reference%22%3A%5B%22web%22%5D%7D": 1, "/images/json?filters=%7B%22reference%22%3A%5B%22nothing%22%5D%7D": 0} {
		list = nil
		if _, body := ask(t, d, root, http.MethodGet, path, ""); json.Unmarshal([]byte(body), &list) != nil || len(list) != want {
			t.Errorf("%s: %s; want %d", path, body, want)
		}
	}
	if code, body := ask(t, d, root, http.MethodGet, "/images/none:1/json", ""); code != http.StatusNotFound || !strings.Contains(body, "No such image: none:1") {
		t.Errorf("an image that nobody has: %d %s", code, body)
	}
	if code, _ := ask(t, d, root, http.MethodPost, "/images/web:1/tag?repo=UPPER&tag=1", ""); code != http.StatusBadRequest {
		t.Errorf("a name that is none: %d", code)
	}
}

// TestDistribution: a registry is asked for the digest and the platforms of an image, and
// what it refuses is said.
func TestDistribution(t *testing.T) {
	images := registry.New(registry.Logger(log.New(t.Output(), "", 0)))
	locked := true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); locked && (user != "me" || password != "it's me") {
			w.Header().Set("WWW-Authenticate", `Basic realm="locked"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	one, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	at, err := name.ParseReference(host + "/web:1")
	if err != nil {
		t.Fatal(err)
	}
	locked = false
	if err := remote.WriteIndex(at, index); err != nil {
		t.Fatal(err)
	}
	locked = true
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := newDoor(t)
	path := "/distribution/" + host + "/web:1/json"
	if code, body := ask(t, d, root, http.MethodGet, path, ""); code != http.StatusUnauthorized {
		t.Errorf("without a password: %d %s", code, body)
	}
	if code, body := askWith(t, d, root, path, `{"username":"me","password":"it's me"}`); code != http.StatusOK || !strings.Contains(body, digest.String()) || !strings.Contains(body, "arm64") {
		t.Errorf("with it: %d %s; want %s", code, body, digest)
	}
	if code, body := askWith(t, d, root, strings.Replace(path, "web:1", "web:2", 1), `{"username":"me","password":"it's me"}`); code != http.StatusNotFound {
		t.Errorf("a tag that is not there: %d %s", code, body)
	}
	if code, body := askWith(t, d, root, path, `{`); code != http.StatusBadRequest || !strings.Contains(body, "X-Registry-Auth") {
		t.Errorf("credentials that are none: %d %s", code, body)
	}
	if code, body := ask(t, d, root, http.MethodPost, "/auth", `{"username":"me","password":"no","serveraddress":"`+srv.URL+`"}`); code != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d %s", code, body)
	}
	if code, body := ask(t, d, root, http.MethodPost, "/auth", `{"username":"me","password":"it's me","serveraddress":"`+srv.URL+`"}`); code != http.StatusOK {
		t.Errorf("the right password: %d %s", code, body)
	}
}

// askWith asks with something to be passed on to a registry.
func askWith(t *testing.T, d *Server, who access.User, path, auth string) (int, string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	req.Header.Set("X-Registry-Auth", base64.URLEncoding.EncodeToString([]byte(auth)))
	return answerTo(d, who, req)
}
