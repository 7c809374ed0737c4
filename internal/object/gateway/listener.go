package gateway

import (
	"crypto/tls"
	"fmt"
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"trireme/internal/object"
	"trireme/internal/object/route"
)

// The kinds of routes.
const (
	HTTPRoute = "HTTPRoute"
	GRPCRoute = "GRPCRoute"
	TLSRoute  = "TLSRoute"
)

// kindsOf returns the kinds of routes that a protocol may have; none: we do not know it.
func kindsOf(p gatewayv1.ProtocolType) []string {
	switch p {
	case gatewayv1.HTTPProtocolType, gatewayv1.HTTPSProtocolType:
		return []string{HTTPRoute, GRPCRoute}
	case gatewayv1.TLSProtocolType:
		return []string{TLSRoute}
	}
	return nil
}

// Gateway is a Gateway as it was read.
type Gateway struct {
	*gatewayv1.Gateway
	Listeners []*Listener
}

// Listener is one listener of a Gateway, and what is wrong with it.
type Listener struct {
	gatewayv1.Listener
	hostname    string // lower case; empty: any
	passthrough bool
	kinds       []string // that may attach
	certificate *object.Key

	accepted, conflicted, resolved fault
}

// Same reports whether routes find in a Gateway what they found in another reading; nil
// is a Gateway that is not there.
func (g *Gateway) Same(o *Gateway) bool {
	if g == nil || o == nil {
		return g == o
	}
	return g.Generation == o.Generation && g.UID == o.UID && slices.EqualFunc(g.Listeners, o.Listeners, func(a, b *Listener) bool {
		return a.accepted == b.accepted && a.conflicted == b.conflicted && a.resolved == b.resolved
	})
}

// Secure reports whether a protocol speaks TLS.
func Secure(p gatewayv1.ProtocolType) bool {
	return p == gatewayv1.HTTPSProtocolType || p == gatewayv1.TLSProtocolType
}

// Usable reports whether the listener's port is opened for it.
func (l *Listener) Usable() bool {
	return l.accepted == fault{} && l.conflicted == fault{} && (l.resolved == fault{} || l.resolved.reason == string(gatewayv1.ListenerReasonInvalidRouteKinds) && len(l.kinds) > 0)
}

// Read returns what a Gateway says. taken says why nodes cannot open a port for
// listeners with or without TLS; empty: they can.
func Read(gw *gatewayv1.Gateway, f Facts, taken func(port int32, secure bool) string) *Gateway {
	g := &Gateway{Gateway: gw}
	for i := range gw.Spec.Listeners {
		l := &Listener{Listener: gw.Spec.Listeners[i]}
		l.hostname = strings.ToLower(string(or(l.Hostname, "")))
		l.readKinds()
		if len(kindsOf(l.Protocol)) == 0 {
			l.accepted = fault{string(gatewayv1.ListenerReasonUnsupportedProtocol), fmt.Sprintf("protocol %s is not served: HTTP, HTTPS and TLS are", l.Protocol)}
		} else if why := taken(l.Port, Secure(l.Protocol)); why != "" {
			l.accepted = fault{string(gatewayv1.ListenerReasonPortUnavailable), fmt.Sprintf("port %d %s", l.Port, why)}
		}
		if Secure(l.Protocol) {
			l.readTLS(gw, f)
		}
		g.Listeners = append(g.Listeners, l)
	}
	g.findConflicts()
	return g
}

// readKinds finds which routes may attach.
func (l *Listener) readKinds() {
	possible := kindsOf(l.Protocol)
	if l.AllowedRoutes == nil || len(l.AllowedRoutes.Kinds) == 0 {
		l.kinds = possible
		return
	}
	for _, k := range l.AllowedRoutes.Kinds {
		if or(k.Group, gatewayv1.GroupName) == gatewayv1.GroupName && slices.Contains(possible, string(k.Kind)) {
			l.kinds = append(l.kinds, string(k.Kind))
			continue
		}
		l.resolved = fault{string(gatewayv1.ListenerReasonInvalidRouteKinds), fmt.Sprintf("allowedRoutes.kinds: a listener of protocol %s has no routes of kind %s", l.Protocol, k.Kind)}
	}
}

// readTLS finds the certificate that the listener shows: the first that can be used.
func (l *Listener) readTLS(gw *gatewayv1.Gateway, f Facts) {
	l.passthrough = l.TLS != nil && or(l.TLS.Mode, gatewayv1.TLSModeTerminate) == gatewayv1.TLSModePassthrough
	if l.passthrough {
		if l.Protocol == gatewayv1.HTTPSProtocolType {
			l.accepted = fault{string(gatewayv1.ListenerReasonUnsupportedValue), "tls.mode: a listener of protocol HTTPS terminates TLS; use protocol TLS for Passthrough"}
		}
		return
	}
	var refs []gatewayv1.SecretObjectReference
	if l.TLS != nil {
		refs = l.TLS.CertificateRefs
	}
	if len(refs) == 0 {
		l.resolved = fault{string(gatewayv1.ListenerReasonInvalidCertificateRef), "tls.certificateRefs: names no secret"}
	}
	for _, r := range refs {
		key, why := certificate(gw, r, f)
		if why != (fault{}) {
			l.resolved = why
		} else if l.certificate == nil {
			l.certificate = &key
		}
	}
}

// certificate returns the secret of a reference, and why it cannot be used.
func certificate(gw *gatewayv1.Gateway, r gatewayv1.SecretObjectReference, f Facts) (object.Key, fault) {
	key := object.Key{Namespace: string(or(r.Namespace, gatewayv1.Namespace(gw.Namespace))), Name: string(r.Name)}
	invalid := func(format string, args ...any) (object.Key, fault) {
		return key, fault{string(gatewayv1.ListenerReasonInvalidCertificateRef), "tls.certificateRefs: " + fmt.Sprintf(format, args...)}
	}
	if group, kind := or(r.Group, ""), or(r.Kind, "Secret"); group != "" || kind != "Secret" {
		return invalid("%s of group %q: certificates are in secrets", kind, group)
	}
	from, to := ref{gatewayv1.GroupName, "Gateway", gw.Namespace, gw.Name}, ref{"", "Secret", key.Namespace, key.Name}
	if !permitted(f, from, to) {
		return key, fault{string(gatewayv1.ListenerReasonRefNotPermitted), fmt.Sprintf("tls.certificateRefs: no ReferenceGrant in namespace %s lets this Gateway name secret %s", key.Namespace, key.Name)}
	}
	s := f.Secret(key)
	if s == nil {
		return invalid("there is no secret %s", key)
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return invalid("secret %s: %s and %s are no certificate and its key: %v", key, corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	return key, fault{}
}

// findConflicts finds listeners that cannot share a port; the API's own validation
// leaves the protocols.
func (g *Gateway) findConflicts() {
	for _, l := range g.Listeners {
		for _, o := range g.Listeners {
			if l == o || l.Port != o.Port || len(kindsOf(l.Protocol)) == 0 || len(kindsOf(o.Protocol)) == 0 {
				continue
			}
			switch {
			case Secure(l.Protocol) != Secure(o.Protocol):
				l.conflicted = fault{string(gatewayv1.ListenerReasonProtocolConflict), fmt.Sprintf("listener %s has port %d with protocol %s", o.Name, o.Port, o.Protocol)}
			case l.hostname == o.hostname:
				l.conflicted = fault{string(gatewayv1.ListenerReasonHostnameConflict), fmt.Sprintf("listener %s has port %d with the same hostname", o.Name, o.Port)}
			}
		}
	}
}

// admits reports whether routes of a kind and namespace may attach.
func (l *Listener) admits(kind, namespace, own string, f Facts) bool {
	if !slices.Contains(l.kinds, kind) {
		return false
	}
	from, selector := gatewayv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if l.AllowedRoutes != nil && l.AllowedRoutes.Namespaces != nil {
		from, selector = or(l.AllowedRoutes.Namespaces.From, from), l.AllowedRoutes.Namespaces.Selector
	}
	switch from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(selector)
		return err == nil && s.Matches(labels.Set(f.Labels(namespace)))
	}
	return from == gatewayv1.NamespacesFromSame && namespace == own
}

// GatewayPart is the key of a Gateway's part.
func GatewayPart(key object.Key) object.Key {
	return object.Key{Namespace: key.Namespace, Name: "gateway." + key.Name}
}

// PartOfGateway is the inverse of GatewayPart; false where the part is of another kind.
func PartOfGateway(part object.Key) (object.Key, bool) {
	name, ok := strings.CutPrefix(part.Name, "gateway.")
	return object.Key{Namespace: part.Namespace, Name: name}, ok
}

// Secrets yields the secrets that a Gateway's listeners name.
func Secrets(gw *gatewayv1.Gateway) iter.Seq[object.Key] {
	return func(yield func(object.Key) bool) {
		for i := range gw.Spec.Listeners {
			t := gw.Spec.Listeners[i].TLS
			if t == nil {
				continue
			}
			for _, r := range t.CertificateRefs {
				if !yield(object.Key{Namespace: string(or(r.Namespace, gatewayv1.Namespace(gw.Namespace))), Name: string(r.Name)}) {
					return
				}
			}
		}
	}
}

// Waits reports whether a listener waits for a port.
func (g *Gateway) Waits() bool {
	return slices.ContainsFunc(g.Listeners, func(l *Listener) bool { return l.accepted.reason == string(gatewayv1.ListenerReasonPortUnavailable) })
}

// Part returns what the Gateway adds to nodes' routing: ports and certificates.
func (g *Gateway) Part() *route.Part {
	at := GatewayPart(object.KeyOf(g))
	p := &route.Part{ObjectMeta: metav1.ObjectMeta{Namespace: at.Namespace, Name: at.Name}, Since: g.CreationTimestamp}
	open := map[int32]bool{}
	for _, l := range g.Listeners {
		if !l.Usable() {
			continue
		}
		if !open[l.Port] {
			p.Ports = append(p.Ports, route.Port{Port: l.Port, TLS: Secure(l.Protocol)})
		}
		open[l.Port] = true
		if l.certificate != nil {
			p.Certificates = append(p.Certificates, route.Certificate{Port: l.Port, Host: l.hostname, Secret: *l.certificate})
		}
	}
	return p
}
