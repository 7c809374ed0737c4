package gateway

import (
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"trireme/internal/object"
	"trireme/internal/object/route"
)

// reader turns the rules of a route into rules of nodes.
type reader struct {
	facts              Facts
	of                 *Route
	rules              []route.Rule
	services           []object.Key // that are named
	accepted, resolved fault        // the first
}

func (c *reader) refuse(at, format string, args ...any) {
	if c.accepted == (fault{}) {
		c.accepted = fault{string(gatewayv1.RouteReasonUnsupportedValue), at + ": " + fmt.Sprintf(format, args...)}
	}
}

func (c *reader) unresolved(reason gatewayv1.RouteConditionReason, at, format string, args ...any) {
	if c.resolved == (fault{}) {
		c.resolved = fault{string(reason), at + ": " + fmt.Sprintf(format, args...)}
	}
}

func (c *reader) http(rules []gatewayv1.HTTPRouteRule) {
	for i := range rules {
		r := &rules[i]
		at := fmt.Sprintf("spec.rules[%d]", i)
		var made route.Rule
		c.filters(at, r.Filters, &made.Filters, &made)
		for j := range r.BackendRefs {
			b := &r.BackendRefs[j]
			where := fmt.Sprintf("%s.backendRefs[%d]", at, j)
			to := c.backend(where, b.BackendObjectReference, b.Weight)
			var direct route.Rule
			if c.filters(where, b.Filters, &to.Filters, &direct); direct.Redirect != nil {
				c.refuse(where, "filters: a redirect stands in a rule's filters")
			}
			made.Backends = append(made.Backends, to)
		}
		if t := r.Timeouts; t != nil {
			made.Timeout, made.BackendTimeout = c.duration(at, t.Request), c.duration(at, t.BackendRequest)
		}
		matches := r.Matches
		if len(matches) == 0 {
			matches = []gatewayv1.HTTPRouteMatch{{}}
		}
		for j := range matches {
			next := made
			c.httpMatch(fmt.Sprintf("%s.matches[%d]", at, j), &matches[j], &next)
			c.rules = append(c.rules, next)
		}
	}
}

func (c *reader) httpMatch(at string, m *gatewayv1.HTTPRouteMatch, to *route.Rule) {
	to.Path = route.Path{Type: route.Prefix, Value: "/"}
	if p := m.Path; p != nil {
		to.Path.Value = or(p.Value, "/")
		switch or(p.Type, gatewayv1.PathMatchPathPrefix) {
		case gatewayv1.PathMatchExact:
			to.Path.Type = route.Exact
		case gatewayv1.PathMatchRegularExpression:
			to.Path.Type = route.Regex
			c.expression(at+".path.value", to.Path.Value)
		}
	}
	to.Method = string(or(m.Method, ""))
	for _, h := range m.Headers {
		to.Headers = append(to.Headers, c.match(at+".headers", string(or(h.Type, "")), string(h.Name), h.Value))
	}
	for _, q := range m.QueryParams {
		to.Query = append(to.Query, c.match(at+".queryParams", string(or(q.Type, "")), string(q.Name), q.Value))
	}
}

func (c *reader) match(at, kind, name, value string) route.Match {
	if kind == string(gatewayv1.HeaderMatchRegularExpression) {
		c.expression(at+" "+name, value)
		return route.Match{Type: route.Regex, Name: name, Value: value}
	}
	return route.Match{Type: route.Exact, Name: name, Value: value}
}

func (c *reader) expression(at, value string) {
	if _, err := route.Regexp(value); err != nil {
		c.refuse(at, "%v (expressions are RE2's)", err)
	}
}

func (c *reader) duration(at string, d *gatewayv1.Duration) time.Duration {
	out, err := time.ParseDuration(string(or(d, "0s")))
	if err != nil {
		c.refuse(at+".timeouts", "%v", err)
	}
	return out
}

func (c *reader) grpc(rules []gatewayv1.GRPCRouteRule) {
	for i := range rules {
		r := &rules[i]
		at := fmt.Sprintf("spec.rules[%d]", i)
		var made route.Rule
		c.grpcFilters(at, r.Filters, &made.Filters)
		for j := range r.BackendRefs {
			b := &r.BackendRefs[j]
			where := fmt.Sprintf("%s.backendRefs[%d]", at, j)
			to := c.backend(where, b.BackendObjectReference, b.Weight)
			to.H2C = true
			c.grpcFilters(where, b.Filters, &to.Filters)
			made.Backends = append(made.Backends, to)
		}
		matches := r.Matches
		if len(matches) == 0 {
			matches = []gatewayv1.GRPCRouteMatch{{}}
		}
		for j := range matches {
			next, m := made, &matches[j]
			where := fmt.Sprintf("%s.matches[%d]", at, j)
			next.Path = c.grpcPath(where+".method", m.Method)
			for _, h := range m.Headers {
				next.Headers = append(next.Headers, c.match(where+".headers", string(or(h.Type, "")), string(h.Name), h.Value))
			}
			c.rules = append(c.rules, next)
		}
	}
}

// grpcPath returns the path of a method: /SERVICE/METHOD (gRPC over HTTP2, Requests).
func (c *reader) grpcPath(at string, m *gatewayv1.GRPCMethodMatch) route.Path {
	if m == nil {
		return route.Path{Type: route.Prefix, Value: "/"}
	}
	service, method := or(m.Service, ""), or(m.Method, "")
	if or(m.Type, gatewayv1.GRPCMethodMatchExact) == gatewayv1.GRPCMethodMatchExact {
		switch {
		case service != "" && method != "":
			return route.Path{Type: route.Exact, Value: "/" + service + "/" + method}
		case method == "":
			return route.Path{Type: route.Prefix, Value: "/" + service}
		}
		method = regexp.QuoteMeta(method)
	}
	const any = "[^/]+"
	if service == "" {
		service = any
	}
	if method == "" {
		method = any
	}
	p := route.Path{Type: route.Regex, Value: "/(?:" + service + ")/(?:" + method + ")"}
	c.expression(at, p.Value)
	return p
}

func (c *reader) tls(rules []gatewayv1.TLSRouteRule) {
	for i := range rules {
		made := route.Rule{Passthrough: true}
		for j := range rules[i].BackendRefs {
			b := &rules[i].BackendRefs[j]
			made.Backends = append(made.Backends, c.backend(fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j), b.BackendObjectReference, b.Weight))
		}
		c.rules = append(c.rules, made)
	}
}

// backend returns the service that a reference names. One that may not be used, or is
// none, keeps its share, which is answered with status 500 (API reference, BackendRefs).
func (c *reader) backend(at string, r gatewayv1.BackendObjectReference, weight *int32) route.Backend {
	to := route.Backend{
		Service: object.Key{Namespace: string(or(r.Namespace, gatewayv1.Namespace(c.of.Namespace))), Name: string(r.Name)},
		Port:    or(r.Port, 0), Weight: or(weight, 1), Invalid: true,
	}
	if group, kind := or(r.Group, ""), or(r.Kind, "Service"); group != "" || kind != "Service" {
		c.unresolved(gatewayv1.RouteReasonInvalidKind, at, "%s of group %q: backends are services", kind, group)
		return to
	}
	c.services = append(c.services, to.Service)
	from, target := ref{gatewayv1.GroupName, c.of.Kind, c.of.Namespace, c.of.Name}, ref{"", "Service", to.Service.Namespace, to.Service.Name}
	if !permitted(c.facts, from, target) {
		c.unresolved(gatewayv1.RouteReasonRefNotPermitted, at, "no ReferenceGrant in namespace %s lets kind %s of namespace %s name service %s", to.Service.Namespace, c.of.Kind, c.of.Namespace, to.Service.Name)
		return to
	}
	svc := c.facts.Service(to.Service)
	if svc == nil {
		c.unresolved(gatewayv1.RouteReasonBackendNotFound, at, "there is no service %s", to.Service)
		return to
	}
	if !hasPort(svc, to.Port) {
		c.unresolved(gatewayv1.RouteReasonBackendNotFound, at, "service %s has no TCP port %d", to.Service, to.Port)
		return to
	}
	to.Invalid = false
	return to
}

func hasPort(svc *corev1.Service, port int32) bool {
	for _, p := range svc.Spec.Ports {
		if p.Port == port && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP) {
			return true
		}
	}
	return false
}
