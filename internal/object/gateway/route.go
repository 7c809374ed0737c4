package gateway

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"trireme/internal/object"
	"trireme/internal/object/route"
)

// Route is a route of any kind.
type Route struct {
	metav1.ObjectMeta
	Kind    string
	Parents []gatewayv1.ParentReference
	Status  gatewayv1.RouteStatus
	hosts   []gatewayv1.Hostname
	rules   func(*reader) // the kind's own
}

// ParseRoute returns the route that an object of the kind is.
func ParseRoute(kind string, u *unstructured.Unstructured) (*Route, error) {
	r := &Route{Kind: kind}
	into := func(o any) error { return runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o) }
	switch kind {
	case HTTPRoute:
		var o gatewayv1.HTTPRoute
		if err := into(&o); err != nil {
			return nil, err
		}
		r.ObjectMeta, r.Parents, r.Status, r.hosts = o.ObjectMeta, o.Spec.ParentRefs, o.Status.RouteStatus, o.Spec.Hostnames
		r.rules = func(c *reader) { c.http(o.Spec.Rules) }
	case GRPCRoute:
		var o gatewayv1.GRPCRoute
		if err := into(&o); err != nil {
			return nil, err
		}
		r.ObjectMeta, r.Parents, r.Status, r.hosts = o.ObjectMeta, o.Spec.ParentRefs, o.Status.RouteStatus, o.Spec.Hostnames
		r.rules = func(c *reader) { c.grpc(o.Spec.Rules) }
	case TLSRoute:
		var o gatewayv1.TLSRoute
		if err := into(&o); err != nil {
			return nil, err
		}
		r.ObjectMeta, r.Parents, r.Status, r.hosts = o.ObjectMeta, o.Spec.ParentRefs, o.Status.RouteStatus, o.Spec.Hostnames
		r.rules = func(c *reader) { c.tls(o.Spec.Rules) }
	default:
		return nil, fmt.Errorf("%s is no kind of route", kind)
	}
	return r, nil
}

// RouteKinds maps the resources of routes to their kinds.
var RouteKinds = map[string]string{"httproutes": HTTPRoute, "grpcroutes": GRPCRoute, "tlsroutes": TLSRoute}

// GatewayOf returns the Gateway that a parent reference names; false where it names
// something else.
func (r *Route) GatewayOf(p gatewayv1.ParentReference) (object.Key, bool) {
	return object.Key{Namespace: string(or(p.Namespace, gatewayv1.Namespace(r.Namespace))), Name: string(p.Name)},
		or(p.Group, gatewayv1.GroupName) == gatewayv1.GroupName && or(p.Kind, "Gateway") == "Gateway"
}

// RoutePart is the key of a route's part.
func RoutePart(kind string, key object.Key) object.Key {
	return object.Key{Namespace: key.Namespace, Name: strings.ToLower(kind) + "." + key.Name}
}

// RouteOf is the inverse of RoutePart, with the resource of the kind; false where the
// part is of no route.
func RouteOf(part object.Key) (resource string, key object.Key, ok bool) {
	for resource, kind := range RouteKinds {
		if name, ok := strings.CutPrefix(part.Name, strings.ToLower(kind)+"."); ok {
			return resource, object.Key{Namespace: part.Namespace, Name: name}, true
		}
	}
	return "", object.Key{}, false
}

// Attached is what became of one parent reference to a Gateway of ours.
type Attached struct {
	Parent    gatewayv1.ParentReference
	Gateway   object.Key
	Listeners []gatewayv1.SectionName // that have the route
	accepted  fault
	places    []route.Place
}

// Attach finds which listeners of a Gateway have the route.
func (r *Route) Attach(p gatewayv1.ParentReference, g *Gateway, f Facts) Attached {
	a := Attached{Parent: p, Gateway: object.KeyOf(g)}
	named, admitted := false, false
	for _, l := range g.Listeners {
		if p.SectionName != nil && *p.SectionName != l.Name || p.Port != nil && *p.Port != l.Port {
			continue
		}
		named = true
		if !l.admits(r.Kind, r.Namespace, g.Namespace, f) {
			continue
		}
		admitted = true
		hosts := r.hostsOn(l)
		if len(hosts) == 0 {
			continue
		}
		a.Listeners = append(a.Listeners, l.Name)
		if l.Usable() {
			a.places = append(a.places, g.places(l, hosts)...)
		}
	}
	switch {
	case !named:
		a.accepted = fault{string(gatewayv1.RouteReasonNoMatchingParent), "the Gateway has no listener of this sectionName and port"}
	case !admitted:
		a.accepted = fault{string(gatewayv1.RouteReasonNotAllowedByListeners), fmt.Sprintf("allowedRoutes of the Gateway's listeners do not allow a %s of namespace %s", r.Kind, r.Namespace)}
	case len(a.Listeners) == 0:
		a.accepted = fault{string(gatewayv1.RouteReasonNoMatchingListenerHostname), "spec.hostnames: none is within a listener's hostname"}
	}
	return a
}

// hostsOn returns the names that both the route and the listener are for; "" is any.
func (r *Route) hostsOn(l *Listener) []string {
	if len(r.hosts) == 0 {
		return []string{l.hostname}
	}
	var out []string
	for _, h := range r.hosts {
		if both, ok := meet(strings.ToLower(string(h)), l.hostname); ok {
			out = append(out, both)
		}
	}
	return out
}

// places returns where rules with these hosts stand: a request belongs to the listener
// with the most specific hostname of the port, and to no other (API reference,
// GatewaySpec.listeners).
func (g *Gateway) places(l *Listener, hosts []string) []route.Place {
	var out []route.Place
next:
	for _, h := range hosts {
		p := route.Place{Port: l.Port, Host: h, Terminate: l.Protocol == gatewayv1.TLSProtocolType && !l.passthrough}
		for _, o := range g.Listeners {
			if o == l || o.Port != l.Port || !o.Usable() || !covers(l.hostname, o.hostname) {
				continue
			}
			if covers(o.hostname, h) {
				continue next
			}
			if covers(h, o.hostname) {
				p.Except = append(p.Except, o.hostname)
			}
		}
		out = append(out, p)
	}
	return out
}

// placesMax is in how many places one route's rules may stand.
const placesMax = 128

// Reading is what a route's rules say.
type Reading struct {
	Services []object.Key // that they name, those too that are not there
	of       *Route
	rules    []route.Rule

	accepted, resolved fault
}

// Read returns what the route's rules say.
func (r *Route) Read(f Facts) *Reading {
	c := &reader{facts: f, of: r}
	r.rules(c)
	return &Reading{c.services, r, c.rules, c.accepted, c.resolved}
}

// Part returns the row of a route that is attached so, and its status. A nil part: no
// node is to know of it. Of what is refused the listeners are taken out.
func (c *Reading) Part(all []Attached, now time.Time) (*route.Part, gatewayv1.RouteStatus) {
	r := c.of
	at := RoutePart(r.Kind, object.KeyOf(r))
	p := &route.Part{ObjectMeta: metav1.ObjectMeta{Namespace: at.Namespace, Name: at.Name}, Since: r.CreationTimestamp}
	out := gatewayv1.RouteStatus{Parents: []gatewayv1.RouteParentStatus{}}
	for i := range all {
		a := &all[i]
		if a.accepted == (fault{}) {
			a.accepted = c.accepted
		}
		if a.accepted == (fault{}) && len(p.Places)+len(a.places) > placesMax {
			a.accepted = fault{string(gatewayv1.RouteReasonUnsupportedValue), fmt.Sprintf("listeners times hostnames are more than %d: name fewer hosts, or attach to fewer listeners", placesMax)}
		}
		if a.accepted == (fault{}) {
			p.Places = appendNew(p.Places, a.places)
		} else {
			a.Listeners = nil
		}
		s := gatewayv1.RouteParentStatus{ParentRef: a.Parent, ControllerName: Controller, Conditions: r.was(a.Parent)}
		m := Moment{r.Generation, now}
		m.condition(&s.Conditions, string(gatewayv1.RouteConditionAccepted), a.accepted, fault{string(gatewayv1.RouteReasonAccepted), "the Gateway serves the route"})
		m.condition(&s.Conditions, string(gatewayv1.RouteConditionResolvedRefs), c.resolved, fault{string(gatewayv1.RouteReasonResolvedRefs), "all that it names is there"})
		out.Parents = append(out.Parents, s)
	}
	for _, s := range r.Status.Parents {
		if s.ControllerName != Controller {
			out.Parents = append(out.Parents, s)
		}
	}
	if p.Rules = c.rules; len(p.Places) == 0 || len(p.Rules) == 0 {
		return nil, out
	}
	return p, out
}

// was returns what the status says of a parent already.
func (r *Route) was(p gatewayv1.ParentReference) []metav1.Condition {
	for _, s := range r.Status.Parents {
		if s.ControllerName == Controller && equality.Semantic.DeepEqual(s.ParentRef, p) {
			return s.DeepCopy().Conditions
		}
	}
	return nil
}

func appendNew(to, more []route.Place) []route.Place {
	for _, p := range more {
		known := false
		for i := range to {
			known = known || equality.Semantic.DeepEqual(to[i], p)
		}
		if !known {
			to = append(to, p)
		}
	}
	return to
}
