package columns

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/store"
)

var networkKinds = map[store.TableID]Kind{
	"ingresses": {
		[]string{"Class", "Hosts", "Address", "Ports", "Age"},
		func(o runtime.Object) []any {
			i := o.(*networkingv1.Ingress)
			ports := "80"
			if len(i.Spec.TLS) > 0 {
				ports = "80, 443"
			}
			var at []string
			for _, in := range i.Status.LoadBalancer.Ingress {
				at = append(at, or(in.IP, in.Hostname))
			}
			return []any{or(deref(i.Spec.IngressClassName), "<none>"), hosts(i.Spec.Rules), strings.Join(at, ","), ports, Age(i)}
		},
	},
	"ingressclasses": {
		[]string{"Controller", "Parameters", "Age"},
		func(o runtime.Object) []any {
			c := o.(*networkingv1.IngressClass)
			params := "<none>"
			if p := c.Spec.Parameters; p != nil {
				params = p.Kind
				if p.APIGroup != nil {
					params += "." + *p.APIGroup
				}
				params += "/" + p.Name
			}
			return []any{c.Spec.Controller, params, Age(c)}
		},
	},
	"networkpolicies": {
		[]string{"Pod-Selector", "Age"},
		func(o runtime.Object) []any {
			p := o.(*networkingv1.NetworkPolicy)
			return []any{metav1.FormatLabelSelector(&p.Spec.PodSelector), Age(p)}
		},
	},
	"servicecidrs": {
		[]string{"CIDRs", "Age"},
		func(o runtime.Object) []any {
			c := o.(*networkingv1.ServiceCIDR)
			return []any{strings.Join(c.Spec.CIDRs, ","), Age(c)}
		},
	},
	"ipaddresses": {
		[]string{"ParentRef", "Age"},
		func(o runtime.Object) []any {
			a := o.(*networkingv1.IPAddress)
			parent := "<none>"
			if ref := a.Spec.ParentRef; ref != nil {
				parent = strings.TrimPrefix(ref.Group+"/"+ref.Resource+"/"+ref.Namespace+"/"+ref.Name, "/")
			}
			return []any{parent, Age(a)}
		},
	},
}

// hosts shows three hosts of an ingress and counts the rest.
func hosts(rules []networkingv1.IngressRule) string {
	var all []string
	for _, r := range rules {
		if r.Host != "" {
			all = append(all, r.Host)
		}
	}
	switch {
	case len(all) == 0:
		return "*"
	case len(all) > 3:
		return strings.Join(all[:3], ",") + fmt.Sprintf(" + %d more...", len(all)-3)
	}
	return strings.Join(all, ",")
}
