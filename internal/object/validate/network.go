package validate

import (
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// networkObject checks the kinds of the group networking.k8s.io; false: o is none.
func networkObject(o runtime.Object) (field.ErrorList, bool) {
	switch o := o.(type) {
	case *networkingv1.Ingress:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), ingress(o)...), true
	case *networkingv1.IngressClass:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), ingressClass(&o.Spec, field.NewPath("spec"))...), true
	case *networkingv1.NetworkPolicy:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), networkPolicy(&o.Spec, field.NewPath("spec"))...), true
	case *networkingv1.ServiceCIDR:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), serviceCIDR(&o.Spec, field.NewPath("spec"))...), true
	case *networkingv1.IPAddress:
		return append(meta(o, false, nameIsIP), ipAddress(&o.Spec, field.NewPath("spec"))...), true
	}
	return nil, false
}

func networkUpdate(next, old runtime.Object) field.ErrorList {
	spec := field.NewPath("spec")
	switch next := next.(type) {
	case *networkingv1.IngressClass:
		return apivalidation.ValidateImmutableField(next.Spec.Controller, old.(*networkingv1.IngressClass).Spec.Controller, spec.Child("controller"))
	case *networkingv1.ServiceCIDR:
		was := old.(*networkingv1.ServiceCIDR).Spec.CIDRs
		if len(was) == 1 && len(next.Spec.CIDRs) == 2 && next.Spec.CIDRs[0] == was[0] {
			return nil // one family becomes two
		}
		return apivalidation.ValidateImmutableField(next.Spec.CIDRs, was, spec.Child("cidrs"))
	case *networkingv1.IPAddress:
		return apivalidation.ValidateImmutableField(next.Spec.ParentRef, old.(*networkingv1.IPAddress).Spec.ParentRef, spec.Child("parentRef"))
	}
	return nil
}

// The limits of an ingress class's controller (API reference, IngressClassSpec).
const controllerMax = 250

func ingressClass(s *networkingv1.IngressClassSpec, at *field.Path) (errs field.ErrorList) {
	p := at.Child("controller")
	switch {
	case s.Controller == "":
		errs = append(errs, field.Required(p, ""))
	case len(s.Controller) > controllerMax:
		errs = append(errs, field.TooLong(p, "", controllerMax))
	default:
		errs = append(errs, validation.IsDomainPrefixedPath(p, s.Controller)...)
	}
	ref := s.Parameters
	if ref == nil {
		return errs
	}
	p = at.Child("parameters")
	if ref.APIGroup != nil {
		errs = append(errs, subdomain(*ref.APIGroup, p.Child("apiGroup"))...)
	}
	errs = append(errs, required(ref.Kind, p.Child("kind"))...)
	errs = append(errs, required(ref.Name, p.Child("name"))...)
	scope := ""
	if ref.Scope != nil {
		scope = *ref.Scope
	}
	errs = append(errs, oneOf(scope, p.Child("scope"), networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)...)
	switch {
	case scope == networkingv1.IngressClassParametersReferenceScopeNamespace && (ref.Namespace == nil || *ref.Namespace == ""):
		errs = append(errs, field.Required(p.Child("namespace"), "`parameters.scope` is set to 'Namespace'"))
	case scope == networkingv1.IngressClassParametersReferenceScopeCluster && ref.Namespace != nil:
		errs = append(errs, field.Forbidden(p.Child("namespace"), "`parameters.scope` is set to 'Cluster'"))
	}
	return errs
}

func networkPolicy(s *networkingv1.NetworkPolicySpec, at *field.Path) field.ErrorList {
	errs := metavalidation.ValidateLabelSelector(&s.PodSelector, metavalidation.LabelSelectorValidationOptions{}, at.Child("podSelector"))
	for i := range s.Ingress {
		p := at.Child("ingress").Index(i)
		errs = append(errs, policyPorts(s.Ingress[i].Ports, p.Child("ports"))...)
		errs = append(errs, policyPeers(s.Ingress[i].From, p.Child("from"))...)
	}
	for i := range s.Egress {
		p := at.Child("egress").Index(i)
		errs = append(errs, policyPorts(s.Egress[i].Ports, p.Child("ports"))...)
		errs = append(errs, policyPeers(s.Egress[i].To, p.Child("to"))...)
	}
	if len(s.PolicyTypes) > 2 {
		return append(errs, field.Invalid(at.Child("policyTypes"), s.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range s.PolicyTypes {
		errs = append(errs, oneOf(t, at.Child("policyTypes").Index(i), networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress)...)
	}
	return errs
}

func policyPorts(ports []networkingv1.NetworkPolicyPort, at *field.Path) (errs field.ErrorList) {
	for i, p := range ports {
		at := at.Index(i)
		if p.Protocol != nil {
			errs = append(errs, protocol(*p.Protocol, at.Child("protocol"))...)
		}
		if p.Port != nil {
			errs = append(errs, portRef(*p.Port, at.Child("port"))...)
		}
		if p.EndPort == nil {
			continue
		}
		switch {
		case p.Port == nil:
			errs = append(errs, field.Required(at.Child("port"), "must be specified when `endPort` is specified"))
		case p.Port.Type == intstr.String:
			errs = append(errs, field.Invalid(at.Child("endPort"), *p.EndPort, "may not be specified when `port` is non-numeric"))
		case *p.EndPort < p.Port.IntVal:
			errs = append(errs, field.Invalid(at.Child("endPort"), *p.EndPort, "must be greater than or equal to `port`"))
		default:
			errs = append(errs, portNumber(*p.EndPort, at.Child("endPort"))...)
		}
	}
	return errs
}

func policyPeers(peers []networkingv1.NetworkPolicyPeer, at *field.Path) (errs field.ErrorList) {
	for i, p := range peers {
		at := at.Index(i)
		selects := p.PodSelector != nil || p.NamespaceSelector != nil
		if p.PodSelector != nil {
			errs = append(errs, metavalidation.ValidateLabelSelector(p.PodSelector, metavalidation.LabelSelectorValidationOptions{}, at.Child("podSelector"))...)
		}
		if p.NamespaceSelector != nil {
			errs = append(errs, metavalidation.ValidateLabelSelector(p.NamespaceSelector, metavalidation.LabelSelectorValidationOptions{}, at.Child("namespaceSelector"))...)
		}
		switch {
		case p.IPBlock != nil && selects:
			errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
		case p.IPBlock != nil:
			errs = append(errs, ipBlock(p.IPBlock, at.Child("ipBlock"))...)
		case !selects:
			errs = append(errs, field.Required(at, "must specify a peer"))
		}
	}
	return errs
}

func ipBlock(b *networkingv1.IPBlock, at *field.Path) (errs field.ErrorList) {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(at.Child("cidr"), "")}
	}
	outer, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return field.ErrorList{field.Invalid(at.Child("cidr"), b.CIDR, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")}
	}
	for i, e := range b.Except {
		p := at.Child("except").Index(i)
		inner, err := netip.ParsePrefix(e)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(p, e, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"))
		case !outer.Contains(inner.Addr()) || inner.Bits() <= outer.Bits():
			errs = append(errs, field.Invalid(p, e, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}

func serviceCIDR(s *networkingv1.ServiceCIDRSpec, at *field.Path) (errs field.ErrorList) {
	at = at.Child("cidrs")
	switch n := len(s.CIDRs); {
	case n == 0:
		return field.ErrorList{field.Required(at, "at least one CIDR required")}
	case n > 2:
		return field.ErrorList{field.Invalid(at, s.CIDRs, "may only hold up to 2 values")}
	}
	families := map[bool]bool{}
	for i, c := range s.CIDRs {
		p, err := netip.ParsePrefix(c)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(at.Index(i), c, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"))
		case p.Masked().String() != c:
			errs = append(errs, field.Invalid(at.Index(i), c, "must be in canonical form: "+p.Masked().String()))
		case families[p.Addr().Is4()]:
			errs = append(errs, field.Invalid(at, s.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
		default:
			families[p.Addr().Is4()] = true
		}
	}
	return errs
}

// nameIsIP checks a name that is an address in canonical form.
func nameIsIP(name string, _ bool) []string {
	ip, err := netip.ParseAddr(name)
	switch {
	case err != nil:
		return []string{"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"}
	case ip.String() != name || strings.Contains(name, "%"):
		return []string{"must be in canonical form (" + ip.WithZone("").String() + ")"}
	}
	return nil
}

func ipAddress(s *networkingv1.IPAddressSpec, at *field.Path) (errs field.ErrorList) {
	at = at.Child("parentRef")
	ref := s.ParentRef
	if ref == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	if ref.Group != "" {
		errs = append(errs, subdomain(ref.Group, at.Child("group"))...)
	}
	errs = append(errs, required(ref.Resource, at.Child("resource"))...)
	return append(errs, required(ref.Name, at.Child("name"))...)
}
