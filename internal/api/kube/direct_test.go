package kube_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/internal/api/kube/view"
)

// TestWatchesWriteThemselves: what a watch writes to its client itself is byte for byte
// what goes over the library's channel, on which a parameter keeps it that looks like the
// wish for a table.
func TestWatchesWriteThemselves(t *testing.T) {
	d := serve(t)
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	configs := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps("default")
	object := func(name, label string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"l": label}}}
	}
	for _, name := range []string{"a", "b"} {
		if _, err := configs.Create(t.Context(), object(name, "x"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := configs.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, host := d.http(t)
	type result struct{ body []byte }
	var wg sync.WaitGroup
	begin := func(query, media string, long bool) *result {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, host+"/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=3&"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if long {
			media = strings.Replace(media, "application/json", "application/json;has=nothing", 1)
			media = strings.Replace(media, "protobuf,", "protobuf;has=nothing,", 1)
		}
		req.Header.Set("Accept", media)
		req.Header.Set("Accept-Encoding", "identity")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		r := &result{}
		wg.Go(func() {
			defer resp.Body.Close()
			r.body, _ = io.ReadAll(resp.Body)
		})
		return r
	}
	before := view.Directs()
	queries := []string{
		"resourceVersion=" + list.ResourceVersion, "fieldSelector=metadata.name%3Da&resourceVersion=" + list.ResourceVersion,
		"labelSelector=l%3Dx&resourceVersion=" + list.ResourceVersion, "fieldSelector=metadata.name%3Da,metadata.namespace%3Dother&resourceVersion=" + list.ResourceVersion,
		"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", "resourceVersion=0", "resourceVersion=1",
	}
	medias := []string{"application/json", "application/vnd.kubernetes.protobuf,application/json", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
	ways := map[string][2]*result{}
	for _, q := range queries {
		for _, m := range medias {
			ways[m+" "+q] = [2]*result{begin(q, m, false), begin(q, m, true)}
		}
	}
	if _, err := configs.Create(t.Context(), object("c", "x"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, patch := range []string{`{"data":{"a":"1"}}`, `{"metadata":{"labels":{"l":"y"}}}`, `{"metadata":{"labels":{"l":"x"}}}`} {
		if _, err := configs.Patch(t.Context(), "a", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := configs.Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if got, want := view.Directs()-before, int64(len(queries)*2); got != want {
		t.Errorf("%d watches wrote themselves, want %d", got, want)
	}
	for name, w := range ways {
		if !bytes.Equal(w[0].body, w[1].body) {
			t.Errorf("%s:\ndirect  %q\nchannel %q", name, w[0].body, w[1].body)
		}
	}
	if b := ways[medias[0]+" "+queries[1]][0].body; bytes.Count(b, []byte("\n")) != 3 {
		t.Errorf("the watch of one object told %q", b)
	}
}
