// Package flow checks the kinds of priority and fairness, FlowSchema and
// PriorityLevelConfiguration, by the rules of the API reference
// (flowcontrol.apiserver.k8s.io/v1). It is a part of package validate, which calls
// it, and follows the same promises: pure, every fault with the path of its field.
package flow

import (
	"math"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits of the API reference.
const (
	precedenceMax  = 10_000
	queuesMax      = 10_000_000
	entropyBitsMax = 60 // of shuffle sharding: queues to the power of hands
)

// Object checks a new object; known says whether it is of a kind of this package.
func Object(o runtime.Object) (errs field.ErrorList, known bool) {
	spec := field.NewPath("spec")
	switch o := o.(type) {
	case *flowcontrolv1.FlowSchema:
		errs = apivalidation.ValidateObjectMetaAccessor(o, false, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
		return append(errs, schema(o, spec)...), true
	case *flowcontrolv1.PriorityLevelConfiguration:
		errs = apivalidation.ValidateObjectMetaAccessor(o, false, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
		return append(errs, level(&o.Spec, spec)...), true
	}
	return nil, false
}

func schema(o *flowcontrolv1.FlowSchema, at *field.Path) (errs field.ErrorList) {
	s := &o.Spec
	precedence := at.Child("matchingPrecedence")
	if s.MatchingPrecedence <= 0 || s.MatchingPrecedence > precedenceMax {
		errs = append(errs, field.Invalid(precedence, s.MatchingPrecedence, "must be within [1, 10000]"))
	}
	if s.MatchingPrecedence == 1 && o.Name != flowcontrolv1.FlowSchemaNameExempt {
		errs = append(errs, field.Invalid(precedence, s.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if d := s.DistinguisherMethod; d != nil {
		errs = append(errs, oneOf(at.Child("distinguisherMethod", "type"), d.Type, flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType)...)
	}
	name := at.Child("priorityLevelConfiguration", "name")
	if s.PriorityLevelConfiguration.Name == "" {
		errs = append(errs, field.Required(name, "must reference a priority level"))
	} else {
		for _, msg := range apivalidation.NameIsDNSSubdomain(s.PriorityLevelConfiguration.Name, false) {
			errs = append(errs, field.Invalid(name, s.PriorityLevelConfiguration.Name, msg))
		}
	}
	for i := range s.Rules {
		errs = append(errs, rule(&s.Rules[i], at.Child("rules").Index(i))...)
	}
	return errs
}

func rule(r *flowcontrolv1.PolicyRulesWithSubjects, at *field.Path) (errs field.ErrorList) {
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(at.Child("subjects"), "subjects must contain at least one value"))
	}
	for i := range r.Subjects {
		errs = append(errs, subject(&r.Subjects[i], at.Child("subjects").Index(i))...)
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i, rr := range r.ResourceRules {
		p := at.Child("resourceRules").Index(i)
		errs = append(errs, verbs(rr.Verbs, p.Child("verbs"))...)
		errs = append(errs, starAlone(rr.APIGroups, p.Child("apiGroups"))...)
		errs = append(errs, starAlone(rr.Resources, p.Child("resources"))...)
		if len(rr.Namespaces) == 0 && !rr.ClusterScope {
			errs = append(errs, field.Required(p.Child("namespaces"), "resource rules that are not cluster scoped must supply at least one namespace"))
		} else if len(rr.Namespaces) > 0 {
			errs = append(errs, starAlone(rr.Namespaces, p.Child("namespaces"))...)
		}
	}
	for i, nr := range r.NonResourceRules {
		p := at.Child("nonResourceRules").Index(i)
		errs = append(errs, verbs(nr.Verbs, p.Child("verbs"))...)
		errs = append(errs, starAlone(nr.NonResourceURLs, p.Child("nonResourceURLs"))...)
		for j, url := range nr.NonResourceURLs {
			if star := strings.Index(url, "*"); url != "*" && (!strings.HasPrefix(url, "/") || strings.Contains(url, " ") || strings.Contains(url, "//") ||
				star >= 0 && (star != len(url)-1 || url[star-1] != '/')) {
				errs = append(errs, field.Invalid(p.Child("nonResourceURLs").Index(j), url, "must begin with '/', without spaces or '//'; a '*' stands alone after the last '/'"))
			}
		}
	}
	return errs
}

func subject(s *flowcontrolv1.Subject, at *field.Path) (errs field.ErrorList) {
	need := func(name string, given bool, kind flowcontrolv1.SubjectKind) {
		if s.Kind == kind && !given {
			errs = append(errs, field.Required(at.Child(name), name+" is required when subject kind is '"+string(kind)+"'"))
		}
		if s.Kind != kind && given {
			errs = append(errs, field.Forbidden(at.Child(name), name+" is forbidden when subject kind is not '"+string(kind)+"'"))
		}
	}
	errs = oneOf(at.Child("kind"), s.Kind, flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser)
	if len(errs) > 0 {
		return errs
	}
	need("user", s.User != nil, flowcontrolv1.SubjectKindUser)
	need("group", s.Group != nil, flowcontrolv1.SubjectKindGroup)
	need("serviceAccount", s.ServiceAccount != nil, flowcontrolv1.SubjectKindServiceAccount)
	if s.User != nil && s.User.Name == "" {
		errs = append(errs, field.Required(at.Child("user", "name"), ""))
	}
	if s.Group != nil && s.Group.Name == "" {
		errs = append(errs, field.Required(at.Child("group", "name"), ""))
	}
	if a := s.ServiceAccount; a != nil {
		if a.Name == "" {
			errs = append(errs, field.Required(at.Child("serviceAccount", "name"), ""))
		}
		if a.Namespace == "" {
			errs = append(errs, field.Required(at.Child("serviceAccount", "namespace"), "must specify namespace for service account"))
		}
	}
	return errs
}

var knownVerbs = []string{"get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy"}

func verbs(list []string, at *field.Path) (errs field.ErrorList) {
	errs = starAlone(list, at)
	for i, v := range list {
		if v != "*" && !slices.Contains(knownVerbs, v) {
			errs = append(errs, field.NotSupported(at.Index(i), v, knownVerbs))
		}
	}
	return errs
}

func starAlone(list []string, at *field.Path) field.ErrorList {
	switch {
	case len(list) == 0:
		return field.ErrorList{field.Required(at, at.String()[strings.LastIndex(at.String(), ".")+1:]+" must contain at least one value")}
	case len(list) > 1 && slices.Contains(list, "*"):
		return field.ErrorList{field.Invalid(at, list, "if '*' is present, must not specify other values")}
	}
	return nil
}

func oneOf[T ~string](at *field.Path, have T, known ...T) field.ErrorList {
	if slices.Contains(known, have) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at, have, known)}
}

func level(s *flowcontrolv1.PriorityLevelConfigurationSpec, at *field.Path) (errs field.ErrorList) {
	switch s.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if s.Limited != nil {
			errs = append(errs, field.Forbidden(at.Child("limited"), "must be nil if the type is not Limited"))
		}
		if e := s.Exempt; e != nil {
			errs = append(errs, atLeast(at.Child("exempt", "nominalConcurrencyShares"), e.NominalConcurrencyShares, 0)...)
			errs = append(errs, percent(at.Child("exempt", "lendablePercent"), e.LendablePercent)...)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if s.Exempt != nil {
			errs = append(errs, field.Forbidden(at.Child("exempt"), "must be nil if the type is Limited"))
		}
		if s.Limited == nil {
			return append(errs, field.Required(at.Child("limited"), "must not be empty when type is Limited"))
		}
		errs = append(errs, limited(s.Limited, at.Child("limited"))...)
	default:
		errs = oneOf(at.Child("type"), s.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
	}
	return errs
}

func limited(l *flowcontrolv1.LimitedPriorityLevelConfiguration, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, atLeast(at.Child("nominalConcurrencyShares"), l.NominalConcurrencyShares, 0)...)
	errs = append(errs, percent(at.Child("lendablePercent"), l.LendablePercent)...)
	errs = append(errs, atLeast(at.Child("borrowingLimitPercent"), l.BorrowingLimitPercent, 0)...)
	r, p := &l.LimitResponse, at.Child("limitResponse")
	switch r.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if r.Queuing != nil {
			errs = append(errs, field.Forbidden(p.Child("queuing"), "must be nil if limited.limitResponse.type is not Limited"))
		}
		return errs
	case flowcontrolv1.LimitResponseTypeQueue:
	default:
		return append(errs, oneOf(p.Child("type"), r.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)...)
	}
	q, p := r.Queuing, p.Child("queuing")
	if q == nil {
		return append(errs, field.Required(p, "must not be empty if limited.limitResponse.type is Limited"))
	}
	errs = append(errs, atLeast(p.Child("queueLengthLimit"), &q.QueueLengthLimit, 1)...)
	errs = append(errs, atLeast(p.Child("queues"), &q.Queues, 1)...)
	errs = append(errs, atLeast(p.Child("handSize"), &q.HandSize, 1)...)
	if len(errs) > 0 {
		return errs
	}
	switch hand := p.Child("handSize"); {
	case q.Queues > queuesMax:
		errs = append(errs, field.Invalid(p.Child("queues"), q.Queues, "must not be greater than 10000000"))
	case q.HandSize > q.Queues:
		errs = append(errs, field.Invalid(hand, q.HandSize, "should not be greater than queues"))
	case math.Ceil(math.Log2(float64(q.Queues))*float64(q.HandSize)) > entropyBitsMax:
		errs = append(errs, field.Invalid(hand, q.HandSize, "with these queues it takes more than 60 bits to draw a hand: make handSize or queues smaller"))
	}
	return errs
}

func atLeast(at *field.Path, v *int32, least int32) field.ErrorList {
	if v != nil && *v < least {
		return field.ErrorList{field.Invalid(at, *v, map[int32]string{0: "must be a non-negative integer", 1: "must be positive"}[least])}
	}
	return nil
}

func percent(at *field.Path, v *int32) field.ErrorList {
	if v != nil && (*v < 0 || *v > 100) {
		return field.ErrorList{field.Invalid(at, *v, "must be between 0 and 100, inclusive")}
	}
	return nil
}
