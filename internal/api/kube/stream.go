package kube

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"trireme/internal/api/kube/reach"
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

// New implements rest.Storage: what a request says.
func (p *podStream) New() runtime.Object {
	switch p.path {
	case "exec":
		return &corev1.PodExecOptions{}
	case "attach":
		return &corev1.PodAttachOptions{}
	case "portForward":
		return &corev1.PodPortForwardOptions{}
	}
	return &corev1.Pod{}
}

// Destroy implements rest.Storage.
func (p *podStream) Destroy() {}

// NewConnectOptions implements rest.Connecter. The options are what admission
// looks at; the agent reads the query itself.
func (p *podStream) NewConnectOptions() (runtime.Object, bool, string) {
	if p.path == "containerLogs" {
		return nil, false, ""
	}
	return p.New(), false, ""
}

// ConnectMethods implements rest.Connecter.
func (p *podStream) ConnectMethods() []string { return p.methods }

// Connect implements rest.Connecter.
func (p *podStream) Connect(ctx context.Context, name string, _ runtime.Object, r rest.Responder) (http.Handler, error) {
	ns := request.NamespaceValue(ctx)
	pod, ok := tables.Pods.Get(p.server.store.Snapshot(), object.Key{Namespace: ns, Name: name})
	if !ok || object.UnderReview(pod) {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	node, _, err := reach.Node(p.server.store.Snapshot(), pod.Spec.NodeName)
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
	case "containerLogs":
		return &logStream{server: p.server, loc: loc, fail: r.Error, others: h}
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
