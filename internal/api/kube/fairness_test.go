package kube_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"trireme/internal/access"
	"trireme/internal/api/kube"
	"trireme/internal/api/kube/fairness"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// serveFair runs a door of so many seats with the roles and flow schemas that every
// cluster has.
func serveFair(t *testing.T, seats int) *door {
	t.Helper()
	d := serve(t, func(c *kube.Config) { c.Seats = seats })
	if _, err := d.store.Update(t.Context(), func(tx *store.Tx) error {
		access.Bootstrap(tx)
		fairness.Bootstrap(tx)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if out, err := d.kubectl(t, "", "create", "clusterrole", "user", "--verb=*", "--resource=configmaps,secrets"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return d
}

// as returns a client with a certificate of that user, who may do all to config
// maps and secrets in namespace default.
func (d *door) as(t *testing.T, user string) *http.Client {
	t.Helper()
	cert, err := d.pki.Issue(wire.Leaf{Name: user})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := d.kubectl(t, "", "create", "rolebinding", user, "--clusterrole=user", "--user="+user); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tr := &http.Transport{TLSClientConfig: wire.ClientTLS(cert, d.pki.Pool()), ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// send returns the answer's code and headers.
func (d *door) send(ctx context.Context, c *http.Client, method, path, body string) (int, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+d.addr+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Header, err
}

// watch begins a watch that goes on until the test ends. One that is refused,
// because another is just beginning, is tried again.
func (d *door) watch(t *testing.T, c *http.Client, path string) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+d.addr+path, nil)
		if err != nil {
			return false, err
		}
		res, err := c.Do(req)
		if err != nil {
			return false, err
		}
		if res.StatusCode != http.StatusOK {
			return false, res.Body.Close()
		}
		t.Cleanup(func() { res.Body.Close() })
		return true, nil
	}); err != nil {
		t.Fatalf("a watch did not begin: %v", err)
	}
}

const narrow = `
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: narrow}
spec: {type: Limited, limited: {nominalConcurrencyShares: 1, borrowingLimitPercent: 0, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: loud}
spec:
  matchingPrecedence: 50
  priorityLevelConfiguration: {name: narrow}
  distinguisherMethod: {type: ByUser}
  rules: [{subjects: [{kind: User, user: {name: loud}}], resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*']}]}]
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: lost}
spec: {matchingPrecedence: 9000, priorityLevelConfiguration: {name: nowhere}}
`

// TestPriorityLevel holds a user to the seats of the level that his schema names.
func TestPriorityLevel(t *testing.T) {
	needKubectl(t)
	hold := make(chan struct{})
	hook := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	t.Cleanup(hook.Close)
	d := serveFair(t, 100)
	loud, calm := d.as(t, "loud"), d.as(t, "calm")
	hookConfig := fmt.Sprintf(`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","metadata":{"name":"slow"},"webhooks":[
{"name":"slow.example.com","timeoutSeconds":30,"sideEffects":"None","admissionReviewVersions":["v1"],"failurePolicy":"Ignore","clientConfig":{"url":%q},
"rules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["configmaps"]}]}]}`, hook.URL)
	if out, err := d.kubectl(t, narrow+"---\n"+hookConfig, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var dangling string
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		dangling, _ = d.kubectl(t, "", "get", "flowschemas", "lost", "loud", "-o", `jsonpath={range .items[*]}{.status.conditions[?(@.type=="Dangling")].status} {end}`)
		return dangling == "True False ", nil
	}); err != nil {
		t.Errorf("dangling: %q, want True for what names no level", dangling)
	}
	level, ok := tables.PriorityLevelConfigurations.Get(d.store.Snapshot(), object.Key{Name: "narrow"})
	if !ok {
		t.Fatal("no level")
	}
	// Watches take a seat until they have begun: more of them than the level has run.
	for range 5 {
		d.watch(t, loud, "/api/v1/namespaces/default/secrets?watch=1")
	}
	// Writes that hang in a webhook fill the level.
	const path = "/api/v1/namespaces/default/configmaps"
	var writes sync.WaitGroup
	full := make(chan http.Header, 1)
	for range 8 {
		writes.Go(func() {
			code, h, err := d.send(t.Context(), loud, "POST", path, `{"metadata":{"generateName":"x-"}}`)
			switch {
			case err == nil && code == http.StatusTooManyRequests:
				select {
				case full <- h:
				default:
				}
			case err != nil || code != http.StatusCreated:
				t.Errorf("a write: %d %v", code, err)
			}
		})
	}
	select {
	case h := <-full:
		if h.Get("Retry-After") == "" || h.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID) != string(level.UID) ||
			h.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) == "" {
			t.Errorf("the refusal's headers: %v", h)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing was refused")
	}
	if code, h, err := d.send(t.Context(), calm, "GET", path, ""); err != nil || code != 200 || h.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID) == string(level.UID) {
		t.Errorf("another user: %d %v %v", code, err, h)
	}
	close(hold)
	writes.Wait()
	if code, _, err := d.send(t.Context(), loud, "GET", path, ""); err != nil || code != 200 {
		t.Errorf("afterwards: %d %v", code, err)
	}
	if out, err := d.kubectl(t, "", "get", "--raw", "/metrics"); err != nil ||
		!strings.Contains(out, `apiserver_flowcontrol_rejected_requests_total{flow_schema="loud",priority_level="narrow",reason="concurrency-limit"}`) {
		t.Errorf("metrics: %v", err)
	}
}

// TestFlood: one user floods with lists and writes, another is served.
func TestFlood(t *testing.T) {
	needKubectl(t)
	d := serveFair(t, 40)
	if _, err := d.store.Update(t.Context(), func(tx *store.Tx) error {
		for i := range 2000 {
			tables.ConfigMaps.Put(tx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("c-%04d", i)}, Data: map[string]string{"a": strings.Repeat("x", 200)}})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	loud, calm := d.as(t, "loud"), d.as(t, "calm")
	const path = "/api/v1/namespaces/default/configmaps"
	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	defer flood.Wait()
	defer stop()
	for i := range 100 {
		flood.Go(func() {
			for ctx.Err() == nil {
				if i%2 == 0 {
					d.send(ctx, loud, "GET", path, "")
				} else {
					d.send(ctx, loud, "POST", path, `{"metadata":{"generateName":"x-"}}`)
				}
			}
		})
	}
	var worst time.Duration
	for range 30 {
		start := time.Now()
		code, _, err := d.send(t.Context(), calm, "GET", path+"/c-0001", "")
		if err != nil || code != 200 {
			t.Fatalf("%d %v", code, err)
		}
		worst = max(worst, time.Since(start))
	}
	if worst > 10*time.Second {
		t.Errorf("a read took %s beside the flood", worst)
	}
	t.Logf("the slowest read beside the flood: %s", worst)
}
