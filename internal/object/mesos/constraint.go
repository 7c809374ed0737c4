package mesos

import (
	"fmt"
	"regexp"
	"slices"

	"trireme/internal/mesos/v1/scheduler"
)

// regexMax is how long a regular expression of offer constraints may be (Mesos,
// --offer_constraints_re2_max_mem stands for the same care).
const regexMax = 4 << 10

// CheckConstraints returns what is wrong with the offer constraints of a framework that has
// the roles.
func CheckConstraints(c *scheduler.OfferConstraints, roles []string) error {
	for role, of := range c.GetRoleConstraints() {
		if !slices.Contains(roles, role) {
			return fmt.Errorf("role_constraints: the framework has no role %q", role)
		}
		if len(of.GetGroups()) == 0 {
			return fmt.Errorf("role_constraints[%s].groups: must not be empty", role)
		}
		for i, g := range of.GetGroups() {
			if len(g.GetAttributeConstraints()) == 0 {
				return fmt.Errorf("role_constraints[%s].groups[%d].attribute_constraints: must not be empty", role, i)
			}
			for j, one := range g.GetAttributeConstraints() {
				if err := checkConstraint(one); err != nil {
					return fmt.Errorf("role_constraints[%s].groups[%d].attribute_constraints[%d].%w", role, i, j, err)
				}
			}
		}
	}
	return nil
}

func checkConstraint(c *scheduler.AttributeConstraint) error {
	switch s := c.GetSelector().GetSelector().(type) {
	case nil:
		return fmt.Errorf("selector: must be set")
	case *scheduler.AttributeConstraint_Selector_PseudoattributeType_:
		if s.PseudoattributeType == scheduler.AttributeConstraint_Selector_UNKNOWN {
			return fmt.Errorf("selector.pseudoattribute_type: is not known: HOSTNAME, REGION or ZONE")
		}
	}
	text := ""
	switch p := c.GetPredicate().GetPredicate().(type) {
	case nil:
		return fmt.Errorf("predicate: must be set")
	case *scheduler.AttributeConstraint_Predicate_TextMatches_:
		text = p.TextMatches.GetRegex()
	case *scheduler.AttributeConstraint_Predicate_TextNotMatches_:
		text = p.TextNotMatches.GetRegex()
	}
	if len(text) > regexMax {
		return fmt.Errorf("predicate: a regular expression of %d bytes: at most %d", len(text), regexMax)
	}
	if _, err := regexp.Compile(text); err != nil {
		return fmt.Errorf("predicate: %w", err)
	}
	return nil
}
