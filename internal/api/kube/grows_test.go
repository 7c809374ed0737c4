package kube_test

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/api/kube"
)

// TestGrows: what is not served yet is asked for again, what will not be is not.
func TestGrows(t *testing.T) {
	d := serve(t, func(c *kube.Config) { c.Grows = true })
	c, err := kubernetes.NewForConfig(d.server.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		_, err := c.RESTClient().Get().AbsPath("/apis/trireme.dev/v1/tenants").MaxRetries(0).DoRaw(t.Context())
		return err
	}
	if err := ask(); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("while kinds are being defined: %v", err)
	}
	d.server.Complete()
	d.server.Complete()
	if err := ask(); !apierrors.IsNotFound(err) {
		t.Errorf("when all are: %v", err)
	}
}
