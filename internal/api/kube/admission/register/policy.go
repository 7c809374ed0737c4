package register

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type labelSelector = metav1.LabelSelector

// The bounds of a policy (API reference, ValidatingAdmissionPolicy).
const (
	auditAnnotationsMax     = 20
	auditAnnotationBytesMax = 5 * 1024
	matchConditionsMax      = 64
)

func (c *check) validating(p *registration.ValidatingAdmissionPolicy, at *field.Path) {
	s := &p.Spec
	e := newExpressions(c, s.ParamKind != nil)
	c.policy(s.FailurePolicy, s.ParamKind, s.MatchConstraints, at)
	c.conditions(s.MatchConditions, s.ParamKind != nil, at.Child("matchConditions"))
	e.variables(s.Variables, at.Child("variables"))
	if len(s.Validations) == 0 && len(s.AuditAnnotations) == 0 {
		c.add(field.Required(at.Child("validations"), "validations or auditAnnotations must contain at least one item"))
	}
	for i := range s.Validations {
		c.validation(&s.Validations[i], e, at.Child("validations").Index(i))
	}
	if len(s.AuditAnnotations) > auditAnnotationsMax {
		c.add(field.TooMany(at.Child("auditAnnotations"), len(s.AuditAnnotations), auditAnnotationsMax))
	}
	keys := map[string]bool{}
	for i, a := range s.AuditAnnotations {
		at := at.Child("auditAnnotations").Index(i)
		for _, msg := range validation.IsQualifiedName(p.Name + "/" + a.Key) {
			c.add(field.Invalid(at.Child("key"), a.Key, msg))
		}
		if keys[a.Key] {
			c.add(field.Duplicate(at.Child("key"), a.Key))
		}
		keys[a.Key] = true
		if len(a.ValueExpression) > auditAnnotationBytesMax {
			c.add(field.TooLong(at.Child("valueExpression"), "", auditAnnotationBytesMax))
			continue
		}
		e.value(a.ValueExpression, at.Child("valueExpression"))
	}
}

func (c *check) validation(v *registration.Validation, e *expressionSet, at *field.Path) {
	e.condition(v.Expression, at.Child("expression"))
	if v.MessageExpression != "" {
		e.message(v.MessageExpression, at.Child("messageExpression"))
	}
	switch {
	case v.Message != "" && strings.TrimSpace(v.Message) == "":
		c.add(field.Invalid(at.Child("message"), v.Message, "must be non-empty if specified"))
	case strings.ContainsAny(strings.TrimSpace(v.Message), "\n\r"):
		c.add(field.Invalid(at.Child("message"), v.Message, "must not contain line breaks"))
	}
	oneOf(c, v.Reason, at.Child("reason"), metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnauthorized)
}

func (c *check) mutating(p *registration.MutatingAdmissionPolicy, at *field.Path) {
	s := &p.Spec
	e := newExpressions(c, s.ParamKind != nil)
	c.policy(s.FailurePolicy, s.ParamKind, s.MatchConstraints, at)
	if s.MatchConstraints != nil {
		for i, r := range s.MatchConstraints.ResourceRules {
			for j := range r.Operations {
				oneOf(c, &r.Operations[j], at.Child("matchConstraints", "resourceRules").Index(i).Child("operations").Index(j), registration.Create, registration.Update)
			}
		}
	}
	c.conditions(s.MatchConditions, s.ParamKind != nil, at.Child("matchConditions"))
	e.variables(s.Variables, at.Child("variables"))
	if len(s.Mutations) == 0 {
		c.add(field.Required(at.Child("mutations"), "mutations must contain at least one item"))
	}
	for i := range s.Mutations {
		c.mutation(&s.Mutations[i], e, at.Child("mutations").Index(i))
	}
	if s.ReinvocationPolicy == "" {
		c.add(field.Required(at.Child("reinvocationPolicy"), ""))
		return
	}
	oneOf(c, &s.ReinvocationPolicy, at.Child("reinvocationPolicy"), registration.NeverReinvocationPolicy, registration.IfNeededReinvocationPolicy)
}

func (c *check) mutation(m *registration.Mutation, e *expressionSet, at *field.Path) {
	json, apply := at.Child("jsonPatch"), at.Child("applyConfiguration")
	switch m.PatchType {
	case registration.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			c.add(field.Required(json, "must be specified when patchType is JSONPatch"))
		} else {
			e.jsonPatch(m.JSONPatch.Expression, json.Child("expression"))
		}
		if m.ApplyConfiguration != nil {
			c.add(field.Forbidden(apply, "must not be specified when patchType is JSONPatch"))
		}
	case registration.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			c.add(field.Required(apply, "must be specified when patchType is ApplyConfiguration"))
		} else {
			e.applyConfiguration(m.ApplyConfiguration.Expression, apply.Child("expression"))
		}
		if m.JSONPatch != nil {
			c.add(field.Forbidden(json, "must not be specified when patchType is ApplyConfiguration"))
		}
	case "":
		c.add(field.Required(at.Child("patchType"), ""))
	default:
		c.add(field.NotSupported(at.Child("patchType"), m.PatchType, []registration.PatchType{registration.PatchTypeJSONPatch, registration.PatchTypeApplyConfiguration}))
	}
}

// policy checks what both kinds of policies have.
func (c *check) policy(failure *registration.FailurePolicyType, params *registration.ParamKind, match *registration.MatchResources, at *field.Path) {
	oneOf(c, failure, at.Child("failurePolicy"), registration.Ignore, registration.Fail)
	if params != nil {
		c.paramKind(*params, at.Child("paramKind"))
	}
	if match == nil {
		c.add(field.Required(at.Child("matchConstraints"), ""))
		return
	}
	c.match(match, at.Child("matchConstraints"))
	if len(match.ResourceRules) == 0 {
		c.add(field.Required(at.Child("matchConstraints", "resourceRules"), ""))
	}
}

func (c *check) paramKind(k registration.ParamKind, at *field.Path) {
	gv, err := schema.ParseGroupVersion(k.APIVersion)
	switch {
	case k.APIVersion == "":
		c.add(field.Required(at.Child("apiVersion"), ""))
	case err != nil:
		c.add(field.Invalid(at.Child("apiVersion"), k.APIVersion, err.Error()))
	default:
		for _, msg := range validation.IsDNS1035Label(gv.Version) {
			c.add(field.Invalid(at.Child("apiVersion"), k.APIVersion, msg))
		}
	}
	if k.Kind == "" {
		c.add(field.Required(at.Child("kind"), ""))
		return
	}
	for _, msg := range validation.IsDNS1035Label(strings.ToLower(k.Kind)) {
		c.add(field.Invalid(at.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+msg))
	}
}

func (c *check) match(m *registration.MatchResources, at *field.Path) {
	oneOf(c, m.MatchPolicy, at.Child("matchPolicy"), registration.Exact, registration.Equivalent)
	c.selectors(m.NamespaceSelector, m.ObjectSelector, at)
	for name, rules := range map[string][]registration.NamedRuleWithOperations{"resourceRules": m.ResourceRules, "excludeResourceRules": m.ExcludeResourceRules} {
		for i := range rules {
			at := at.Child(name).Index(i)
			c.rule(&rules[i].RuleWithOperations, at)
			seen := map[string]bool{}
			for j, n := range rules[i].ResourceNames {
				for _, msg := range path.IsValidPathSegmentName(n) {
					c.add(field.Invalid(at.Child("resourceNames").Index(j), n, msg))
				}
				if seen[n] {
					c.add(field.Duplicate(at.Child("resourceNames").Index(j), n))
				}
				seen[n] = true
			}
		}
	}
}

func (c *check) binding(policy string, ref *registration.ParamRef, match *registration.MatchResources, at *field.Path) {
	if policy == "" {
		c.add(field.Required(at.Child("policyName"), ""))
	}
	for _, msg := range validation.IsDNS1123Subdomain(policy) {
		if policy != "" {
			c.add(field.Invalid(at.Child("policyName"), policy, msg))
		}
	}
	if match != nil {
		c.match(match, at.Child("matchResources"))
	}
	if ref == nil {
		return
	}
	at = at.Child("paramRef")
	switch {
	case ref.Name != "" && ref.Selector != nil:
		c.add(field.Forbidden(at.Child("name"), "name and selector are mutually exclusive"))
	case ref.Name == "" && ref.Selector == nil:
		c.add(field.Required(at, "one of name or selector must be specified"))
	case ref.Selector != nil:
		c.add(metavalidation.ValidateLabelSelector(ref.Selector, metavalidation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	}
	if ref.ParameterNotFoundAction == nil {
		c.add(field.Required(at.Child("parameterNotFoundAction"), ""))
	}
	oneOf(c, ref.ParameterNotFoundAction, at.Child("parameterNotFoundAction"), registration.DenyAction, registration.AllowAction)
}

func (c *check) actions(actions []registration.ValidationAction, at *field.Path) {
	if len(actions) == 0 {
		c.add(field.Required(at, "at least one validation action is required"))
	}
	for i := range actions {
		oneOf(c, &actions[i], at.Index(i), registration.Deny, registration.Warn, registration.Audit)
		if slices.Contains(actions[:i], actions[i]) {
			c.add(field.Duplicate(at.Index(i), actions[i]))
		}
	}
	if slices.Contains(actions, registration.Deny) && slices.Contains(actions, registration.Warn) {
		c.add(field.Invalid(at, actions, "must not contain both Deny and Warn (the response would say the same twice)"))
	}
}

func (c *check) conditions(list []registration.MatchCondition, params bool, at *field.Path) {
	if len(list) > matchConditionsMax {
		c.add(field.TooMany(at, len(list), matchConditionsMax))
		return
	}
	seen := map[string]bool{}
	e := newExpressions(c, params)
	for i, m := range list {
		switch at := at.Index(i).Child("name"); {
		case m.Name == "":
			c.add(field.Required(at, ""))
		case seen[m.Name]:
			c.add(field.Duplicate(at, m.Name))
		default:
			for _, msg := range validation.IsQualifiedName(m.Name) {
				c.add(field.Invalid(at, m.Name, msg))
			}
		}
		seen[m.Name] = true
		e.matchCondition(m.Expression, at.Index(i).Child("expression"))
	}
}

var identifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)

// reserved are the words that CEL keeps (CEL specification, "Syntax").
var reserved = strings.Fields("true false null in as break const continue else for function if import let loop package namespace return var void while")

func variableName(name string, at *field.Path) *field.Error {
	switch {
	case strings.TrimSpace(name) == "":
		return field.Required(at, "name is not specified")
	case !identifier.MatchString(name) || slices.Contains(reserved, name):
		return field.Invalid(at, name, fmt.Sprintf("must be a valid CEL identifier: %s, and no reserved word", identifier))
	}
	return nil
}
