package register

import (
	"fmt"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"
)

// Validate returns every fault of a registration; none of any other kind. What
// stands in old, which may be nil, was compiled when it was written and is let
// be.
func Validate(o, old runtime.Object) field.ErrorList {
	c := &check{known: expressions(old)}
	switch o := o.(type) {
	case *registration.MutatingWebhookConfiguration:
		names := map[string]bool{}
		for i := range o.Webhooks {
			h := &o.Webhooks[i]
			at := field.NewPath("webhooks").Index(i)
			c.hook(hook{h.Name, h.ClientConfig, h.Rules, h.FailurePolicy, h.MatchPolicy, h.SideEffects, h.TimeoutSeconds, h.AdmissionReviewVersions}, names, at)
			c.selectors(h.NamespaceSelector, h.ObjectSelector, at)
			c.conditions(h.MatchConditions, false, at.Child("matchConditions"))
			oneOf(c, h.ReinvocationPolicy, at.Child("reinvocationPolicy"), registration.NeverReinvocationPolicy, registration.IfNeededReinvocationPolicy)
		}
	case *registration.ValidatingWebhookConfiguration:
		names := map[string]bool{}
		for i := range o.Webhooks {
			h := &o.Webhooks[i]
			at := field.NewPath("webhooks").Index(i)
			c.hook(hook{h.Name, h.ClientConfig, h.Rules, h.FailurePolicy, h.MatchPolicy, h.SideEffects, h.TimeoutSeconds, h.AdmissionReviewVersions}, names, at)
			c.selectors(h.NamespaceSelector, h.ObjectSelector, at)
			c.conditions(h.MatchConditions, false, at.Child("matchConditions"))
		}
	case *registration.ValidatingAdmissionPolicy:
		c.validating(o, field.NewPath("spec"))
	case *registration.MutatingAdmissionPolicy:
		c.mutating(o, field.NewPath("spec"))
	case *registration.ValidatingAdmissionPolicyBinding:
		c.binding(o.Spec.PolicyName, o.Spec.ParamRef, o.Spec.MatchResources, field.NewPath("spec"))
		c.actions(o.Spec.ValidationActions, field.NewPath("spec", "validationActions"))
	case *registration.MutatingAdmissionPolicyBinding:
		c.binding(o.Spec.PolicyName, o.Spec.ParamRef, o.Spec.MatchResources, field.NewPath("spec"))
	}
	return c.errs
}

// check gathers faults.
type check struct {
	errs  field.ErrorList
	known map[string]bool // expressions that stand already
}

func (c *check) add(e ...*field.Error) { c.errs = append(c.errs, e...) }

// oneOf wants v to be one of the values; nil is not looked at.
func oneOf[T ~string](c *check, v *T, at *field.Path, values ...T) {
	if v != nil && !slices.Contains(values, *v) {
		c.add(field.NotSupported(at, *v, values))
	}
}

// hook is what both kinds of webhooks have.
type hook struct {
	name        string
	client      registration.WebhookClientConfig
	rules       []registration.RuleWithOperations
	failure     *registration.FailurePolicyType
	match       *registration.MatchPolicyType
	sideEffects *registration.SideEffectClass
	timeout     *int32
	versions    []string
}

func (c *check) hook(h hook, names map[string]bool, at *field.Path) {
	c.add(validation.IsFullyQualifiedName(at.Child("name"), h.name)...)
	if h.name != "" && names[h.name] {
		c.add(field.Duplicate(at.Child("name"), h.name))
	}
	names[h.name] = true
	for i := range h.rules {
		c.rule(&h.rules[i], at.Child("rules").Index(i))
	}
	oneOf(c, h.failure, at.Child("failurePolicy"), registration.Ignore, registration.Fail)
	oneOf(c, h.match, at.Child("matchPolicy"), registration.Exact, registration.Equivalent)
	if h.sideEffects == nil {
		c.add(field.Required(at.Child("sideEffects"), "must specify one of None, NoneOnDryRun"))
	}
	oneOf(c, h.sideEffects, at.Child("sideEffects"), registration.SideEffectClassNone, registration.SideEffectClassNoneOnDryRun)
	if h.timeout != nil && (*h.timeout < 1 || *h.timeout > 30) {
		c.add(field.Invalid(at.Child("timeoutSeconds"), *h.timeout, "the timeout value must be between 1 and 30 seconds"))
	}
	switch cc, at := h.client, at.Child("clientConfig"); {
	case (cc.URL == nil) == (cc.Service == nil):
		c.add(field.Required(at, "exactly one of url or service is required"))
	case cc.URL != nil:
		c.add(webhook.ValidateWebhookURL(at.Child("url"), *cc.URL, true)...)
	default:
		port := int32(443)
		if cc.Service.Port != nil {
			port = *cc.Service.Port
		}
		c.add(webhook.ValidateWebhookService(at.Child("service"), cc.Service.Name, cc.Service.Namespace, cc.Service.Path, port)...)
	}
	c.add(webhook.ValidateCABundle(at.Child("clientConfig", "caBundle"), h.client.CABundle)...)
	c.versions(h.versions, at.Child("admissionReviewVersions"))
}

func (c *check) versions(versions []string, at *field.Path) {
	if len(versions) == 0 {
		c.add(field.Required(at, "must specify one of v1, v1beta1"))
		return
	}
	seen := map[string]bool{}
	for i, v := range versions {
		if seen[v] {
			c.add(field.Invalid(at.Index(i), v, "duplicate version"))
		}
		seen[v] = true
		for _, msg := range validation.IsDNS1035Label(v) {
			c.add(field.Invalid(at.Index(i), v, msg))
		}
	}
	if !seen["v1"] && !seen["v1beta1"] {
		c.add(field.Invalid(at, versions, "must include at least one of v1, v1beta1"))
	}
}

func (c *check) rule(r *registration.RuleWithOperations, at *field.Path) {
	if len(r.Operations) == 0 {
		c.add(field.Required(at.Child("operations"), ""))
	}
	for i := range r.Operations {
		oneOf(c, &r.Operations[i], at.Child("operations").Index(i), registration.OperationAll, registration.Create, registration.Update, registration.Delete, registration.Connect)
	}
	alone(c, r.Operations, registration.OperationAll, at.Child("operations"))
	for name, list := range map[string][]string{"apiGroups": r.APIGroups, "apiVersions": r.APIVersions} {
		if len(list) == 0 {
			c.add(field.Required(at.Child(name), ""))
		}
		alone(c, list, "*", at.Child(name))
	}
	for i, v := range r.APIVersions {
		if v == "" {
			c.add(field.Required(at.Child("apiVersions").Index(i), ""))
		}
	}
	oneOf(c, r.Scope, at.Child("scope"), registration.ClusterScope, registration.NamespacedScope, registration.AllScopes)
	c.resources(r.Resources, at.Child("resources"))
}

// alone wants a list that has a star to have nothing else.
func alone[T ~string](c *check, list []T, star T, at *field.Path) {
	if len(list) > 1 && slices.Contains(list, star) {
		c.add(field.Invalid(at, list, fmt.Sprintf("if '%s' is present, must not specify others", star)))
	}
}

// resources checks a rule's NAME and NAME/SUB: none may be within another.
func (c *check) resources(list []string, at *field.Path) {
	if len(list) == 0 {
		c.add(field.Required(at, ""))
	}
	alone(c, list, "*/*", at)
	seen := map[string]bool{}
	for i, r := range list {
		name, sub, has := strings.Cut(r, "/")
		switch {
		case r == "":
			c.add(field.Required(at.Index(i), ""))
		case has && seen[name+"/*"]:
			c.add(field.Invalid(at.Index(i), r, fmt.Sprintf("if '%s/*' is present, must not specify %s", name, r)))
		case has && seen["*/"+sub]:
			c.add(field.Invalid(at.Index(i), r, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, r)))
		}
		seen[r] = true
	}
	whole := func(r string) bool { return r != "*" && r != "" && !strings.Contains(r, "/") }
	if seen["*"] && slices.ContainsFunc(list, whole) {
		c.add(field.Invalid(at, list, "if '*' is present, must not specify other resources without subresources"))
	}
}

func (c *check) selectors(namespace, object *labelSelector, at *field.Path) {
	opts := metavalidation.LabelSelectorValidationOptions{}
	if namespace != nil {
		c.add(metavalidation.ValidateLabelSelector(namespace, opts, at.Child("namespaceSelector"))...)
	}
	if object != nil {
		c.add(metavalidation.ValidateLabelSelector(object, opts, at.Child("objectSelector"))...)
	}
}
