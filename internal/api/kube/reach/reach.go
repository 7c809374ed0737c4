// Package reach finds where a proxied request goes: the proxy subresources of
// pods, services and nodes name a target as [SCHEME:]NAME[:PORT] (Kubernetes,
// "Access Services Running on Clusters").
//
// It only reads tables; it neither connects nor decides who may. It refuses
// addresses that mean this machine or its link, so that nobody reaches the
// manager's own sockets by writing an address into a status.
//
// How to debug: the errors name what was looked for.
package reach

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// target is a parsed [SCHEME:]NAME[:PORT].
type target struct{ scheme, name, port string }

func parse(id, what string) (target, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return target{}, apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q: want [http:|https:]NAME[:PORT]", what, id))
	}
	return target{scheme, name, port}, nil
}

// url returns the target at an address. The scheme is http unless it was named.
func (t target) url(ip, port string) (*url.URL, error) {
	switch a := net.ParseIP(ip); {
	case a == nil:
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("%s has no address yet", t.name))
	case a.IsLoopback(), a.IsLinkLocalUnicast(), a.IsLinkLocalMulticast(), a.IsInterfaceLocalMulticast(), a.IsMulticast(), a.IsUnspecified():
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s: address %s is not allowed", t.name, ip))
	}
	u := &url.URL{Scheme: t.scheme, Host: ip}
	if u.Scheme == "" {
		u.Scheme = "http"
	}
	switch {
	case port != "":
		u.Host = net.JoinHostPort(ip, port)
	case net.ParseIP(ip).To4() == nil:
		u.Host = "[" + ip + "]"
	}
	return u, nil
}

// Pod returns where the pod listens: the port of the id, or else the first port
// that a container of it declares, or else the scheme's.
func Pod(tx store.Reader, namespace, id string) (*url.URL, error) {
	t, err := parse(id, "pod")
	if err != nil {
		return nil, err
	}
	pod, ok := tables.Pods.Get(tx, object.Key{Namespace: namespace, Name: t.name})
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), t.name)
	}
	for i := 0; i < len(pod.Spec.Containers) && t.port == ""; i++ {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			t.port = strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	return t.url(pod.Status.PodIP, t.port)
}

// Service returns where one of the service's ready endpoints listens, any of
// them. The port is a port's name or number; it may be left out where the
// service has one.
func Service(tx store.Reader, namespace, id string) (*url.URL, error) {
	t, err := parse(id, "service")
	if err != nil {
		return nil, err
	}
	svc, ok := tables.Services.Get(tx, object.Key{Namespace: namespace, Name: t.name})
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("services"), t.name)
	}
	name, err := portName(svc, t.port)
	if err != nil {
		return nil, err
	}
	type address struct {
		ip   string
		port int32
	}
	var ready []address
	for row := range tables.EndpointSlices.Rows(tx, namespace) {
		slice := row.Object()
		if slice.Labels[discoveryv1.LabelServiceName] != svc.Name {
			continue
		}
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != name || p.Name == nil && name != "" {
				continue
			}
			for _, ep := range slice.Endpoints {
				if len(ep.Addresses) > 0 && (ep.Conditions.Ready == nil || *ep.Conditions.Ready) {
					ready = append(ready, address{ep.Addresses[0], *p.Port})
				}
			}
		}
	}
	if len(ready) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", id))
	}
	a := ready[rand.IntN(len(ready))]
	return t.url(a.ip, strconv.Itoa(int(a.port)))
}

// portName returns the name of the service's port that a request means.
func portName(svc *corev1.Service, port string) (string, error) {
	if port == "" && len(svc.Spec.Ports) == 1 {
		return svc.Spec.Ports[0].Name, nil
	}
	for _, p := range svc.Spec.Ports {
		if p.Name == port || strconv.Itoa(int(p.Port)) == port {
			return p.Name, nil
		}
	}
	if port == "" {
		return "", apierrors.NewBadRequest(fmt.Sprintf("service %s has %d ports: want %s:PORT, its name or number", svc.Name, len(svc.Spec.Ports), svc.Name))
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, svc.Name))
}

// Node returns where the node listens: its agent, or another port of it. agent
// says which.
func Node(tx store.Reader, id string) (u *url.URL, agent bool, err error) {
	t, err := parse(id, "node")
	if err != nil {
		return nil, false, err
	}
	node, ok := tables.Nodes.Get(tx, object.Key{Name: t.name})
	if !ok {
		return nil, false, apierrors.NewNotFound(corev1.Resource("nodes"), t.name)
	}
	own := strconv.Itoa(int(node.Status.DaemonEndpoints.KubeletEndpoint.Port))
	if t.port == "" || t.port == own {
		t.port, t.scheme, agent = own, "https", true
	}
	for _, a := range node.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if agent { // its address was vouched for by its certificate; it may be this machine
			return &url.URL{Scheme: t.scheme, Host: net.JoinHostPort(a.Address, t.port)}, true, nil
		}
		u, err = t.url(a.Address, t.port)
		return u, false, err
	}
	return nil, false, apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has no internal address yet: its agent has not reported", t.name))
}
