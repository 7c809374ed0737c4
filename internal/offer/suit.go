package offer

import (
	"regexp"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
)

// suits reports whether the leaf may be offered the agent at all.
func (e *Engine) suits(a *agent, l *leaf) bool {
	switch {
	case a.gpus && !l.f.GPU:
		return false
	case a.Region != "" && e.cfg.Region != "" && a.Region != e.cfg.Region && !l.f.RegionAware:
		return false
	}
	return l.constraints == nil || l.constraints.Fit(a.Agent)
}

func extended(name corev1.ResourceName, n int64) object.Demand {
	if n == 0 {
		return object.Demand{}
	}
	return object.Demand{Extended: map[corev1.ResourceName]int64{name: n}}
}

// Min is the least that is worth an offer: it has all of one of these.
type Min []Bounds

// defaultMin is Mesos' --min_allocatable_resources.
var defaultMin = Min{{resource.CPUs: 10}, {resource.Mem: 32 * resource.Thousand}}

// Reaches reports whether the list is worth an offer. The nil Min is the default.
func (m Min) Reaches(l resource.List) bool {
	if m == nil {
		for i := range l { // the common case, without maps
			if r := &l[i]; r.Name == resource.CPUs && r.Scalar >= 10 || r.Name == resource.Mem && r.Scalar >= 32*resource.Thousand {
				return true
			}
		}
		return defaultMin.Reaches(l)
	}
	for _, least := range m {
		ok := true
		for name, n := range least {
			ok = ok && l.Scalar(name) >= n
		}
		if ok {
			return true
		}
	}
	return len(m) == 0
}

// MinOf reads what a framework says is worth an offer to a role of its; nil: it says nothing.
func MinOf(f *mesosv1.OfferFilters) (Min, error) {
	if f.GetMinAllocatableResources() == nil {
		return nil, nil
	}
	out := Min{}
	for _, q := range f.GetMinAllocatableResources().GetQuantities() {
		b := Bounds{}
		for name, v := range q.GetQuantities() {
			n, err := resource.Thousandths(v.GetValue())
			if err != nil {
				return nil, kind.New(kind.Invalid, "offer_filters: min_allocatable_resources: quantities: %s: %w", name, err)
			}
			b[name] = n
		}
		out = append(out, b)
	}
	return out, nil
}

// Constraints say which agents a role of a framework wants to be offered: those that fit all of
// one group (Apache Mesos, docs "Offer Constraints").
type Constraints struct{ groups [][]constraint }

type constraint struct {
	of   func(*Agent) (text string, isText, there bool)
	test func(text string, isText, there bool) bool
}

// The bounds of expressions: Mesos' --offer_constraints_re2_max_mem is 4 KB.
const regexMax = 4096

// ConstraintsOf reads the constraints of each role. The error names what is wrong.
func ConstraintsOf(all *scheduler.OfferConstraints) (map[string]*Constraints, error) {
	if all == nil {
		return nil, nil
	}
	out := map[string]*Constraints{}
	for role, rc := range all.GetRoleConstraints() {
		if len(rc.GetGroups()) == 0 {
			return nil, faulty("role_constraints[%s]: groups: is empty: a role has at least one", role)
		}
		c := &Constraints{}
		for i, g := range rc.GetGroups() {
			if len(g.GetAttributeConstraints()) == 0 {
				return nil, faulty("role_constraints[%s]: groups[%d]: attribute_constraints: is empty: a group has at least one", role, i)
			}
			var group []constraint
			for j, ac := range g.GetAttributeConstraints() {
				one, err := constraintOf(ac)
				if err != nil {
					return nil, faulty("role_constraints[%s]: groups[%d]: attribute_constraints[%d]: %w", role, i, j, err)
				}
				group = append(group, one)
			}
			c.groups = append(c.groups, group)
		}
		out[role] = c
	}
	return out, nil
}

func faulty(format string, args ...any) error {
	return kind.New(kind.Invalid, "offer_constraints: "+format, args...)
}

func constraintOf(ac *scheduler.AttributeConstraint) (c constraint, err error) {
	s := ac.GetSelector()
	switch name := s.GetAttributeName(); {
	case name != "":
		c.of = func(a *Agent) (string, bool, bool) { return attributeOf(a, name) }
	case s.GetPseudoattributeType() == scheduler.AttributeConstraint_Selector_HOSTNAME:
		c.of = func(a *Agent) (string, bool, bool) { return a.Hostname, true, true }
	case s.GetPseudoattributeType() == scheduler.AttributeConstraint_Selector_REGION:
		c.of = func(a *Agent) (string, bool, bool) { return a.Region, true, a.Region != "" }
	case s.GetPseudoattributeType() == scheduler.AttributeConstraint_Selector_ZONE:
		c.of = func(a *Agent) (string, bool, bool) { return a.Zone, true, a.Zone != "" }
	default:
		return c, kind.New(kind.Invalid, "selector: has neither attribute_name nor a pseudoattribute_type that is known")
	}
	c.test, err = predicateOf(ac.GetPredicate())
	return c, err
}

// predicateOf returns the test. What is no text passes every test of text, as Mesos has it.
func predicateOf(p *scheduler.AttributeConstraint_Predicate) (func(text string, isText, there bool) bool, error) {
	switch p := p.GetPredicate().(type) {
	case *scheduler.AttributeConstraint_Predicate_Exists_:
		return func(_ string, _, there bool) bool { return there }, nil
	case *scheduler.AttributeConstraint_Predicate_NotExists_:
		return func(_ string, _, there bool) bool { return !there }, nil
	case *scheduler.AttributeConstraint_Predicate_TextEquals_:
		want := p.TextEquals.GetValue()
		return func(text string, isText, there bool) bool { return there && (!isText || text == want) }, nil
	case *scheduler.AttributeConstraint_Predicate_TextNotEquals_:
		want := p.TextNotEquals.GetValue()
		return func(text string, isText, there bool) bool { return !there || !isText || text != want }, nil
	case *scheduler.AttributeConstraint_Predicate_TextMatches_:
		re, err := expression(p.TextMatches.GetRegex())
		return func(text string, isText, there bool) bool { return there && (!isText || re.MatchString(text)) }, err
	case *scheduler.AttributeConstraint_Predicate_TextNotMatches_:
		re, err := expression(p.TextNotMatches.GetRegex())
		return func(text string, isText, there bool) bool { return !there || !isText || !re.MatchString(text) }, err
	}
	return nil, kind.New(kind.Invalid, "predicate: is none that is known")
}

// expression compiles a regular expression of RE2, which has to match all of a text.
func expression(text string) (*regexp.Regexp, error) {
	if len(text) > regexMax {
		return nil, kind.New(kind.Invalid, "predicate: regex: has %d bytes: at most %d", len(text), regexMax)
	}
	re, err := regexp.Compile("^(?:" + text + ")$")
	if err != nil {
		return nil, kind.New(kind.Invalid, "predicate: regex: %w", err)
	}
	return re, nil
}

// attributeOf returns an agent's attribute as text; several of one name are the first.
func attributeOf(a *Agent, name string) (text string, isText, there bool) {
	for _, m := range a.Attributes {
		if m.GetName() == name {
			return m.GetText().GetValue(), m.GetType() == mesosv1.Value_TEXT, true
		}
	}
	return "", false, false
}

// Fit reports whether the agent is one of those that are wanted.
func (c *Constraints) Fit(a *Agent) bool {
	for _, group := range c.groups {
		ok := true
		for _, one := range group {
			if ok = one.test(one.of(a)); !ok {
				break
			}
		}
		if ok {
			return true
		}
	}
	return false
}
