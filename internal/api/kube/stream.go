package kube

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"trireme/internal/object"
	"trireme/internal/tables"
)

// podStream serves a subresource that the agent of the pod's node answers:
// logs, exec, attach, port-forward.
type podStream struct {
	server  *Server
	path    string // on the agent
	methods []string
}

// New implements rest.Storage.
func (p *podStream) New() runtime.Object { return &corev1.Pod{} }

// Destroy implements rest.Storage.
func (p *podStream) Destroy() {}

// NewConnectOptions implements rest.Connecter: the agent reads the query itself.
func (p *podStream) NewConnectOptions() (runtime.Object, bool, string) { return nil, false, "" }

// ConnectMethods implements rest.Connecter.
func (p *podStream) ConnectMethods() []string { return p.methods }

// Connect implements rest.Connecter.
func (p *podStream) Connect(ctx context.Context, name string, _ runtime.Object, r rest.Responder) (http.Handler, error) {
	ns := request.NamespaceValue(ctx)
	pod, ok := tables.Pods.Get(p.server.store.Snapshot(), object.Key{Namespace: ns, Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	node, err := p.server.nodeURL(pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		loc := *node
		loc.Path = "/" + p.path + "/" + ns + "/" + name
		query := req.URL.Query()
		if p.path != "portForward" {
			container, err := containerOf(pod, query.Get("container"))
			if err != nil {
				r.Error(err)
				return
			}
			query.Del("container")
			loc.Path += "/" + container
		}
		loc.RawQuery = query.Encode()
		p.handler(&loc, r).ServeHTTP(w, req)
	}), nil
}

// handler proxies to the agent. Newer clients speak WebSockets, the node's
// runtime speaks SPDY: the library translates.
func (p *podStream) handler(loc *url.URL, r rest.Responder) http.Handler {
	upgrade := p.path != "containerLogs"
	h := proxy.NewUpgradeAwareHandler(loc, p.server.nodes, false, upgrade, proxy.NewErrorResponder(r))
	h.UseRequestLocation = false
	switch p.path {
	case "exec", "attach":
		q := loc.Query()
		opts := translator.Options{
			Stdin: q.Get("stdin") == "true", Stdout: q.Get("stdout") == "true",
			Stderr: q.Get("stderr") == "true", Tty: q.Get("tty") == "true",
		}
		t := translator.NewStreamTranslatorHandler(loc, p.server.nodes, 0, opts)
		return translator.NewTranslatingHandler(h, t, wsstream.IsWebSocketRequestWithStreamCloseProtocol)
	case "portForward":
		return translator.NewTranslatingHandler(h, translator.NewTunnelingHandler(h), wsstream.IsWebSocketRequestWithTunnelingProtocol)
	}
	return h
}

// containerOf returns the container a request means: the named one, or the only
// or annotated default one.
func containerOf(pod *corev1.Pod, name string) (string, error) {
	if name == "" {
		name = pod.Annotations["kubectl.kubernetes.io/default-container"]
	}
	var names []string
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Name)
	}
	if name == "" {
		if len(names) == 1 {
			return names[0], nil
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", pod.Name, names))
	}
	for i := range pod.Spec.InitContainers {
		names = append(names, pod.Spec.InitContainers[i].Name)
	}
	for i := range pod.Spec.EphemeralContainers {
		names = append(names, pod.Spec.EphemeralContainers[i].Name)
	}
	for _, n := range names {
		if n == name {
			return n, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

// nodeURL returns where the node's agent listens.
func (s *Server) nodeURL(name string) (*url.URL, error) {
	node, ok := tables.Nodes.Get(s.store.Snapshot(), object.Key{Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
			return &url.URL{Scheme: "https", Host: net.JoinHostPort(a.Address, strconv.Itoa(port))}, nil
		}
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has no internal address yet: its agent has not reported", name))
}

// nodeProxy serves nodes/proxy: the agent's own HTTP pages.
type nodeProxy struct{ server *Server }

// New implements rest.Storage.
func (p *nodeProxy) New() runtime.Object { return &corev1.NodeProxyOptions{} }

// Destroy implements rest.Storage.
func (p *nodeProxy) Destroy() {}

// NewConnectOptions implements rest.Connecter.
func (p *nodeProxy) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.NodeProxyOptions{}, true, "path"
}

// ConnectMethods implements rest.Connecter.
func (p *nodeProxy) ConnectMethods() []string {
	return []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
}

// Connect implements rest.Connecter.
func (p *nodeProxy) Connect(_ context.Context, name string, opts runtime.Object, r rest.Responder) (http.Handler, error) {
	node, err := p.server.nodeURL(name)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		loc := *node
		loc.Path = "/" + trimLead(opts.(*corev1.NodeProxyOptions).Path)
		loc.RawQuery = req.URL.RawQuery
		proxy.NewUpgradeAwareHandler(&loc, p.server.nodes, true, false, proxy.NewErrorResponder(r)).ServeHTTP(w, req)
	}), nil
}

func trimLead(p string) string {
	for len(p) > 0 && p[0] == '/' {
		p = p[1:]
	}
	return p
}
