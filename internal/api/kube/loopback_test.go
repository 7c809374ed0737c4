package kube_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestLoopback(t *testing.T) {
	d := serve(t)
	c, err := kubernetes.NewForConfig(d.server.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	me, err := c.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || me.Status.UserInfo.Username != "system:apiserver" {
		t.Fatalf("the loopback client is %v, %v", me, err)
	}
	cms := c.CoreV1().ConfigMaps("default")
	w, err := cms.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cms.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if e := <-w.ResultChan(); e.Type != watch.Added || e.Object.(*corev1.ConfigMap).Name != "a" {
		t.Errorf("the watch saw %v", e)
	}
	w.Stop()
	for range w.ResultChan() { // it ends, or the test does not
	}
	if _, err := cms.Get(ctx, "b", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("getting what is not there: %v", err)
	}
	gone, stop := context.WithCancel(ctx)
	stop()
	if _, err := cms.List(gone, metav1.ListOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled list: %v", err)
	}
	f := informers.NewSharedInformerFactory(c, 0)
	i := f.Core().V1().Namespaces().Informer()
	f.Start(ctx.Done())
	if f.WaitForCacheSync(ctx.Done()); len(i.GetStore().List()) != 1 {
		t.Errorf("the informer holds %v", i.GetStore().List())
	}
	cancel()
	f.Shutdown()
}

// What came over the network cannot claim to be the loopback client.
func TestLoopbackIsNotOpen(t *testing.T) {
	d := serve(t)
	config := &rest.Config{Host: "https://" + d.addr, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, UserAgent: d.server.Loopback().UserAgent}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a stranger's list: %v", err)
	}
}

// A loopback request that asks for another protocol gets a connection, which ends with it.
func TestLoopbackUpgrades(t *testing.T) {
	d := serve(t)
	config := d.server.Loopback()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://loopback/api/v1/namespaces/default/pods/nothing/exec?command=x&stdout=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "SPDY/3.1")
	resp, err := config.Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusNotFound || !strings.Contains(string(b), "nothing") || err != nil {
		t.Errorf("exec in what is not there: %d %s, %v", resp.StatusCode, b, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	cancel()
}
