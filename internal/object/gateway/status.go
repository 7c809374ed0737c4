package gateway

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Moment is of what and when a condition speaks.
type Moment struct {
	Generation int64
	Now        time.Time
}

// condition sets a condition that is true without a fault.
func (m Moment) condition(all *[]metav1.Condition, kind string, f fault, good fault) {
	c := metav1.Condition{
		Type: kind, Status: metav1.ConditionTrue, Reason: good.reason, Message: good.message,
		ObservedGeneration: m.Generation, LastTransitionTime: metav1.NewTime(m.Now.Truncate(time.Second)),
	}
	if f != (fault{}) {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, f.reason, f.message
	}
	meta.SetStatusCondition(all, c)
}

// ClassStatus returns the status of a GatewayClass of ours.
func ClassStatus(c *gatewayv1.GatewayClass, now time.Time) gatewayv1.GatewayClassStatus {
	out := *c.Status.DeepCopy()
	bad := fault{}
	if c.Spec.ParametersRef != nil {
		bad = fault{string(gatewayv1.GatewayClassReasonInvalidParameters), "spec.parametersRef: this controller has no parameters"}
	}
	Moment{c.Generation, now}.condition(&out.Conditions, string(gatewayv1.GatewayClassConditionStatusAccepted), bad, fault{string(gatewayv1.GatewayClassReasonAccepted), "every node answers for its Gateways"})
	out.SupportedFeatures = nil
	for _, name := range features {
		out.SupportedFeatures = append(out.SupportedFeatures, gatewayv1.SupportedFeature{Name: gatewayv1.FeatureName(name)})
	}
	return out
}

// Status returns the Gateway's status: who answers, and how many routes each listener has.
func (g *Gateway) Status(addresses []string, attached map[gatewayv1.SectionName]int, now time.Time) gatewayv1.GatewayStatus {
	out := *g.Gateway.Status.DeepCopy()
	at := Moment{g.Generation, now}
	var faulty, refused int
	var listeners []gatewayv1.ListenerStatus
	for _, l := range g.Listeners {
		s := gatewayv1.ListenerStatus{Name: l.Name}
		for _, was := range out.Listeners {
			if was.Name == l.Name {
				s.Conditions = was.Conditions
			}
		}
		if l.status(&s, at); !l.Usable() {
			faulty++
		}
		if l.accepted != (fault{}) || l.conflicted != (fault{}) {
			refused++
		}
		s.AttachedRoutes = int32(attached[l.Name])
		listeners = append(listeners, s)
	}
	out.Listeners = listeners
	out.Addresses = nil
	ip := gatewayv1.IPAddressType
	for _, a := range addresses {
		out.Addresses = append(out.Addresses, gatewayv1.GatewayStatusAddress{Type: &ip, Value: a})
	}
	g.conditions(&out, at, faulty, refused)
	return out
}

// conditions sets the Gateway's own conditions; of its listeners so many cannot be
// served, some of them whatever is there.
func (g *Gateway) conditions(out *gatewayv1.GatewayStatus, at Moment, faulty, refused int) {
	notValid := fault{string(gatewayv1.GatewayReasonListenersNotValid), fmt.Sprintf("%d of %d listeners cannot be served: see their conditions", faulty, len(g.Listeners))}
	accepted, good := g.accepted(), fault{string(gatewayv1.GatewayReasonAccepted), "the Gateway is served"}
	switch {
	case accepted == fault{} && refused == len(g.Listeners):
		accepted = notValid
	case faulty > 0:
		good = notValid
	}
	at.condition(&out.Conditions, string(gatewayv1.GatewayConditionAccepted), accepted, good)
	programmed := fault{}
	switch {
	case accepted != fault{}:
		programmed = fault{string(gatewayv1.GatewayReasonInvalid), accepted.message}
	case faulty == len(g.Listeners):
		programmed = fault{string(gatewayv1.GatewayReasonInvalid), notValid.message}
	case len(out.Addresses) == 0:
		programmed = fault{string(gatewayv1.GatewayReasonAddressNotAssigned), "no ready node answers for it"}
	}
	at.condition(&out.Conditions, string(gatewayv1.GatewayConditionProgrammed), programmed, fault{string(gatewayv1.GatewayReasonProgrammed), "the nodes of status.addresses answer"})
}

// accepted returns what is wrong with the Gateway itself.
func (g *Gateway) accepted() fault {
	if i := g.Spec.Infrastructure; i != nil && i.ParametersRef != nil {
		return fault{string(gatewayv1.GatewayReasonInvalidParameters), "spec.infrastructure.parametersRef: this controller has no parameters"}
	}
	for _, a := range g.Spec.Addresses {
		if or(a.Type, gatewayv1.IPAddressType) != gatewayv1.IPAddressType || a.Value != "" {
			return fault{string(gatewayv1.GatewayReasonUnsupportedAddress), "spec.addresses: every node answers with its own address; leave it out"}
		}
	}
	return fault{}
}

// status sets what a listener's status says of itself.
func (l *Listener) status(s *gatewayv1.ListenerStatus, at Moment) {
	group := gatewayv1.Group(gatewayv1.GroupName)
	s.SupportedKinds = []gatewayv1.RouteGroupKind{}
	for _, k := range l.kinds {
		s.SupportedKinds = append(s.SupportedKinds, gatewayv1.RouteGroupKind{Group: &group, Kind: gatewayv1.Kind(k)})
	}
	s.Conditions = slices.Clone(s.Conditions)
	accepted := l.accepted
	if accepted == (fault{}) {
		accepted = l.conflicted
	}
	at.condition(&s.Conditions, string(gatewayv1.ListenerConditionAccepted), accepted, fault{string(gatewayv1.ListenerReasonAccepted), "the listener is served"})
	at.condition(&s.Conditions, string(gatewayv1.ListenerConditionResolvedRefs), l.resolved, fault{string(gatewayv1.ListenerReasonResolvedRefs), "all that it names is there"})
	programmed := fault{}
	if !l.Usable() {
		programmed = fault{string(gatewayv1.ListenerReasonInvalid), "the listener is not valid"}
	}
	at.condition(&s.Conditions, string(gatewayv1.ListenerConditionProgrammed), programmed, fault{string(gatewayv1.ListenerReasonProgrammed), "nodes open the port"})
	conflict := metav1.Condition{
		Type: string(gatewayv1.ListenerConditionConflicted), Status: metav1.ConditionFalse, Reason: string(gatewayv1.ListenerReasonNoConflicts),
		Message: "no other listener is in its way", ObservedGeneration: at.Generation, LastTransitionTime: metav1.NewTime(at.Now.Truncate(time.Second)),
	}
	if l.conflicted != (fault{}) {
		conflict.Status, conflict.Reason, conflict.Message = metav1.ConditionTrue, l.conflicted.reason, l.conflicted.message
	}
	meta.SetStatusCondition(&s.Conditions, conflict)
}

// features are the names of what this controller supports, sorted (package
// sigs.k8s.io/gateway-api/pkg/features).
var features = []string{
	"GRPCRoute", "GRPCRouteNamedRouteRule", "Gateway", "GatewayHTTPListenerIsolation", "GatewayPort8080", "HTTPRoute",
	"HTTPRoute303RedirectStatusCode", "HTTPRoute307RedirectStatusCode", "HTTPRoute308RedirectStatusCode", "HTTPRouteBackendProtocolH2C",
	"HTTPRouteBackendProtocolWebSocket", "HTTPRouteBackendRequestHeaderModification", "HTTPRouteBackendTimeout",
	"HTTPRouteDestinationPortMatching", "HTTPRouteHostRewrite", "HTTPRouteMethodMatching", "HTTPRouteNamedRouteRule",
	"HTTPRouteParentRefPort", "HTTPRoutePathRedirect", "HTTPRoutePathRewrite", "HTTPRoutePortRedirect", "HTTPRouteQueryParamMatching",
	"HTTPRouteRequestMirror", "HTTPRouteRequestMultipleMirrors", "HTTPRouteRequestPercentageMirror", "HTTPRouteRequestTimeout",
	"HTTPRouteResponseHeaderModification", "HTTPRouteSchemeRedirect", "ReferenceGrant", "TLSRoute", "TLSRouteModeMixed",
	"TLSRouteModeTerminate",
}
