package gateway

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"trireme/internal/object/route"
)

// filters adds what filters say to f; a redirect, which takes the backends' place, to r.
func (c *reader) filters(at string, all []gatewayv1.HTTPRouteFilter, f *route.Filters, r *route.Rule) {
	for i := range all {
		x := &all[i]
		where := fmt.Sprintf("%s.filters[%d]", at, i)
		switch {
		case x.RequestHeaderModifier != nil:
			f.Request = edit(x.RequestHeaderModifier)
		case x.ResponseHeaderModifier != nil:
			f.Response = edit(x.ResponseHeaderModifier)
		case x.RequestMirror != nil:
			c.mirror(where, x.RequestMirror, f)
		case x.RequestRedirect != nil:
			d := x.RequestRedirect
			r.Redirect = &route.Redirect{
				Scheme: or(d.Scheme, ""), Host: string(or(d.Hostname, "")), Port: or(d.Port, 0),
				Path: pathChange(d.Path), Status: or(d.StatusCode, 302),
			}
		case x.URLRewrite != nil:
			f.Rewrite = &route.Rewrite{Host: string(or(x.URLRewrite.Hostname, "")), Path: pathChange(x.URLRewrite.Path)}
		default: // "the filter MUST NOT be skipped" (API reference, HTTPRouteFilter)
			c.refuse(where, "filter %s is not served", x.Type)
		}
	}
}

// grpcFilters are some of those for HTTP, under the same names.
func (c *reader) grpcFilters(at string, all []gatewayv1.GRPCRouteFilter, f *route.Filters) {
	same := make([]gatewayv1.HTTPRouteFilter, len(all))
	for i, x := range all {
		same[i] = gatewayv1.HTTPRouteFilter{
			Type: gatewayv1.HTTPRouteFilterType(x.Type), RequestHeaderModifier: x.RequestHeaderModifier,
			ResponseHeaderModifier: x.ResponseHeaderModifier, RequestMirror: x.RequestMirror,
		}
	}
	c.filters(at, same, f, nil)
}

func (c *reader) mirror(at string, m *gatewayv1.HTTPRequestMirrorFilter, f *route.Filters) {
	to := route.Mirror{Backend: c.backend(at+".requestMirror.backendRef", m.BackendRef, nil)}
	switch {
	case m.Fraction != nil:
		to.Numerator, to.Denominator = m.Fraction.Numerator, or(m.Fraction.Denominator, 100)
	case m.Percent != nil:
		to.Numerator, to.Denominator = *m.Percent, 100
	}
	if !to.Backend.Invalid {
		f.Mirrors = append(f.Mirrors, to)
	}
}

func edit(m *gatewayv1.HTTPHeaderFilter) *route.Edit {
	e := &route.Edit{Remove: m.Remove}
	for _, h := range m.Set {
		e.Set = append(e.Set, route.Header{Name: string(h.Name), Value: h.Value})
	}
	for _, h := range m.Add {
		e.Add = append(e.Add, route.Header{Name: string(h.Name), Value: h.Value})
	}
	return e
}

func pathChange(m *gatewayv1.HTTPPathModifier) *route.PathChange {
	switch {
	case m == nil:
		return nil
	case m.Type == gatewayv1.FullPathHTTPPathModifier:
		return &route.PathChange{Whole: true, Value: or(m.ReplaceFullPath, "/")}
	}
	return &route.PathChange{Value: or(m.ReplacePrefixMatch, "/")}
}
