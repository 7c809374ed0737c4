package kube

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"trireme/internal/api/kube/reach"
)

// proxied serves the proxy subresource of nodes, pods and services. A node's
// agent proves who it is; a pod has no certificate that could be checked, so
// https to one is encrypted only, as at kube-apiserver.
type proxied struct {
	server *Server
	plural string
}

// New implements rest.Storage.
func (p *proxied) New() runtime.Object {
	switch p.plural {
	case "pods":
		return &corev1.PodProxyOptions{}
	case "services":
		return &corev1.ServiceProxyOptions{}
	}
	return &corev1.NodeProxyOptions{}
}

// Destroy implements rest.Storage.
func (p *proxied) Destroy() {}

// NewConnectOptions implements rest.Connecter.
func (p *proxied) NewConnectOptions() (runtime.Object, bool, string) { return p.New(), true, "path" }

// ConnectMethods implements rest.Connecter.
func (p *proxied) ConnectMethods() []string {
	return []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
}

// Connect implements rest.Connecter.
func (p *proxied) Connect(ctx context.Context, id string, opts runtime.Object, r rest.Responder) (http.Handler, error) {
	to, transport, err := p.find(request.NamespaceValue(ctx), id)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		loc := *to
		loc.Path = utilnet.JoinPreservingTrailingSlash(to.Path, *proxyPath(opts)) // none: a GET is sent on to the path with a slash
		loc.RawQuery = req.URL.RawQuery
		h := proxy.NewUpgradeAwareHandler(&loc, transport, true, false, proxy.NewErrorResponder(r))
		h.ServeHTTP(w, req)
	}), nil
}

// find returns where the target listens and how to speak to it.
func (p *proxied) find(namespace, id string) (to *url.URL, transport http.RoundTripper, err error) {
	tx := p.server.store.Snapshot()
	switch p.plural {
	case "pods":
		to, err = reach.Pod(tx, namespace, id)
	case "services":
		to, err = reach.Service(tx, namespace, id)
	default:
		var agent bool
		if to, agent, err = reach.Node(tx, id); agent {
			return to, p.server.nodes, err
		}
	}
	return to, p.server.pods, err
}

// podTransport speaks to whatever runs in pods.
func podTransport() http.RoundTripper {
	return utilnet.SetTransportDefaults(&http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}) //nolint:gosec // see proxied
}

func proxyPath(o runtime.Object) *string {
	switch o := o.(type) {
	case *corev1.PodProxyOptions:
		return &o.Path
	case *corev1.ServiceProxyOptions:
		return &o.Path
	}
	return &o.(*corev1.NodeProxyOptions).Path
}

// addProxyOptions teaches the scheme to read the options from a request.
func addProxyOptions(s *runtime.Scheme) error {
	for _, p := range []string{"pods", "services", "nodes"} {
		err := s.AddConversionFunc((*url.Values)(nil), (&proxied{plural: p}).New(), func(a, b any, _ conversion.Scope) error {
			*proxyPath(b.(runtime.Object)) = a.(*url.Values).Get("path")
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
