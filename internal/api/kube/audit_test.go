package kube_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/internal/api/kube"
	"trireme/internal/api/kube/auditlog"
	"trireme/internal/kind"
)

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: RequestResponse, resources: [{group: "", resources: [configmaps]}]}
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: None}
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// events reads an audit log: a line for each event, "verb resource/name level code".
func events(t *testing.T, path string) (lines []string, all []auditv1.Event) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var e auditv1.Event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", s.Text(), err)
		}
		all = append(all, e)
		lines = append(lines, fmt.Sprintf("%s %s/%s %s %d", e.Verb, e.ObjectRef.Resource, e.ObjectRef.Name, e.Level, e.ResponseStatus.Code))
	}
	return lines, all
}

func TestAuditLog(t *testing.T) {
	needKubectl(t)
	posted := make(chan auditv1.EventList, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		var l auditv1.EventList
		if err := json.NewDecoder(req.Body).Decode(&l); err != nil {
			t.Error(err)
		}
		posted <- l
	}))
	t.Cleanup(hook.Close)
	file := filepath.Join(t.TempDir(), "logs", "audit.log")
	log, err := auditlog.Open(auditlog.Config{
		PolicyFile: write(t, "policy.yaml", auditPolicy), LogPath: file,
		WebhookFile: write(t, "hook.yaml", `{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: "`+hook.URL+`"}}], contexts: [{name: x, context: {cluster: c, user: u}}], users: [{name: u}], current-context: x}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	d := serve(t, func(c *kube.Config) { c.Audit = log })
	d.must(t, "", "create", "configmap", "c", "--from-literal=a=1")
	d.must(t, "", "create", "secret", "generic", "s", "--from-literal=password=hunter2")
	d.must(t, "", "get", "pods")
	d.kubectl(t, "", "get", "cm", "none")
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.ContentType = "application/vnd.kubernetes.protobuf" // what may take the short way
	if _, err := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps("default").Get(t.Context(), "c", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	lines, all := events(t, file)
	want := []string{
		"create configmaps/c RequestResponse 201", "create secrets/s Metadata 201",
		"get configmaps/none RequestResponse 404", "get configmaps/c RequestResponse 200",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Fatalf("written down:\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if e := all[0]; e.User.Username == "" || e.RequestObject == nil || !strings.Contains(string(e.ResponseObject.Raw), `"a":"1"`) || e.Annotations["authorization.k8s.io/decision"] != "allow" {
		t.Errorf("the first event: %+v", e)
	}
	if e := all[1]; e.RequestObject != nil || e.ResponseObject != nil {
		t.Errorf("the secret's content is in the log: %s %s", e.RequestObject.Raw, e.ResponseObject.Raw)
	}
	if e := all[3]; e.ResponseObject == nil {
		t.Errorf("a read in protobuf is written down without its answer: %+v", e)
	}
	n := 0
	for n < len(want) {
		n += len((<-posted).Items)
	}
	cancel()
	<-ended
}

// TestAuditSettings checks which setting is named for what is wrong with it.
func TestAuditSettings(t *testing.T) {
	good := write(t, "policy.yaml", auditPolicy)
	for _, c := range []struct {
		cfg  auditlog.Config
		want string
	}{
		{auditlog.Config{PolicyFile: good}, "manager.audit.logPath"},
		{auditlog.Config{LogPath: "x"}, "manager.audit.policyFile"},
		{auditlog.Config{LogPath: "x", PolicyFile: "/nowhere"}, "manager.audit.policyFile"},
		{auditlog.Config{LogPath: "x", PolicyFile: write(t, "bad.yaml", strings.Replace(auditPolicy, "Metadata", "Everything", 1))}, "manager.audit.policyFile"},
		{auditlog.Config{LogPath: good + "/sub/log", PolicyFile: good}, "manager.audit.logPath"},
		{auditlog.Config{WebhookFile: "/nowhere", PolicyFile: good}, "manager.audit.webhookFile"},
	} {
		_, err := auditlog.Open(c.cfg)
		if !kind.Is(err, kind.Invalid) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v, want one about %s", c.cfg, err, c.want)
		}
	}
	if l, err := auditlog.Open(auditlog.Config{}); l != nil || err != nil {
		t.Errorf("nothing is set: %v, %v", l, err)
	}
}
