package kube_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// TestShortWay: what the short way answers is byte for byte what the library
// answers. A query that says nothing keeps a request on the long way.
func TestShortWay(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	d.must(t, deployment, "apply", "-f", "-")
	d.must(t, "", "create", "configmap", "c", "--from-literal=a=1")
	d.must(t, "", "create", "configmap", "e")
	d.must(t, "", "label", "configmap", "c", "x=y")
	d.must(t, "", "create", "namespace", "other")
	d.must(t, "", "create", "secret", "generic", "s", "--from-literal=a=1", "-n", "other")
	client, host := d.http(t)
	for _, path := range []string{
		"/api/v1/namespaces/default/configmaps/c", "/api/v1/namespaces/default/configmaps/e", "/apis/apps/v1/namespaces/default/deployments/web",
		"/api/v1/namespaces/other/secrets/s", "/api/v1/namespaces/default", "/api/v1/namespaces/default/configmaps/none",
		"/api/v1/configmaps", "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/other/configmaps", "/api/v1/namespaces/none/configmaps",
		"/api/v1/namespaces", "/api/v1/secrets", "/apis/apps/v1/deployments", "/api/v1/pods", "/api/v1/nodes", "/api/v1/events",
		"/apis/autoscaling/v1/horizontalpodautoscalers", "/apis/autoscaling/v2/horizontalpodautoscalers", "/apis/apps/v1/namespaces/default/deployments/web/scale",
	} {
		short, shortType := get(t, client, host+path)
		long, longType := get(t, client, host+path+"?pretty=false")
		if !bytes.Equal(short, long) || shortType != longType {
			t.Errorf("%s: %s %q, the long way %s %q", path, shortType, short, longType, long)
		}
		if latest, _ := get(t, client, host+path+"?resourceVersion=0"); !bytes.Equal(latest, long) {
			t.Errorf("%s?resourceVersion=0: %q, the long way %q", path, latest, long)
		}
	}
	if body, _ := get(t, client, host+"/api/v1/configmaps"); !strings.HasPrefix(string(body), "k8s\x00") {
		t.Errorf("a list in protobuf begins with %q", body[:min(len(body), 8)])
	}
}

func (d *door) http(t *testing.T) (client *http.Client, host string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return c, config.Host
}

func get(t *testing.T, client *http.Client, url string) (body []byte, contentType string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.kubernetes.protobuf,application/json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return body, resp.Header.Get("Content-Type")
}

// TestWatchersShare: watchers of one object in several forms and versions are each
// told the same in the form that they asked for.
func TestWatchersShare(t *testing.T) {
	d := serve(t)
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	type told struct {
		form string
		c    *corev1.ConfigMap
	}
	news := make(chan told, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, form := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		c := rest.CopyConfig(config)
		c.AcceptContentTypes = form
		cs := kubernetes.NewForConfigOrDie(c)
		for range 3 {
			w, err := cs.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for e := range w.ResultChan() {
					if c, ok := e.Object.(*corev1.ConfigMap); ok {
						news <- told{string(e.Type) + " " + form, c}
					}
				}
			}()
		}
	}
	cs := kubernetes.NewForConfigOrDie(config)
	c, err := cs.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for range 6 {
		n := <-news
		counts[n.form]++
		if n.c.ResourceVersion != c.ResourceVersion || n.c.Data["a"] != "1" || n.c.UID != c.UID {
			t.Errorf("%s: told of %v", n.form, n.c)
		}
	}
	if counts["ADDED application/json"] != 3 || counts["ADDED application/vnd.kubernetes.protobuf"] != 3 {
		t.Errorf("told %v", counts)
	}
}
