package admission

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"

	"trireme/internal/api/kube/reach"
	"trireme/internal/store"
)

// answerMax is how large a webhook's answer may be, in bytes: an object and a
// patch of it.
const answerMax = 16 << 20

// services resolves the service of a webhook to one of its endpoints, which the
// manager reaches wherever it runs.
type services struct{ store *store.Store }

// ResolveEndpoint implements webhook.ServiceResolver.
func (s services) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	return reach.Service(s.store.Snapshot(), namespace, "https:"+name+":"+strconv.Itoa(int(port)))
}

// clients says how webhooks are called: with nothing to show but what the
// request holds, and never further than they were asked to go.
func (c *Chain) clients(next webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
	strict := func(cfg *rest.Config, err error) (*rest.Config, error) {
		if err != nil {
			return nil, err
		}
		cfg = rest.CopyConfig(cfg)
		cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { return bounded{rt} })
		return cfg, nil
	}
	return &webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(host string) (*rest.Config, error) { return strict(next.ClientConfigFor(host)) },
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
			if name == "kubernetes" && namespace == "default" && port == 443 {
				return c.cfg.Client, nil
			}
			return strict(next.ClientConfigForService(name, namespace, port))
		},
	}
}

// bounded refuses redirects, which could lead a request anywhere inside, and
// answers without end.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		res.Body.Close()
		return nil, fmt.Errorf("the webhook answered %s: redirects are not followed", res.Status)
	}
	res.Body = &limited{res.Body, answerMax}
	return res, nil
}

// limited fails where more than so many bytes are read.
type limited struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if l.left -= n; l.left < 0 {
		return 0, fmt.Errorf("the webhook's answer is larger than %d bytes", answerMax)
	}
	return n, err
}

// WrappedRoundTripper lets the library see what is below.
func (b bounded) WrappedRoundTripper() http.RoundTripper { return b.next }
