package marathon

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/swarm"
)

// The labels of nodes that constraints have other words for.
var attributes = map[string]string{
	"@region": corev1.LabelTopologyRegion, "@zone": corev1.LabelTopologyZone, "hostname": "", "@hostname": "",
}

// place maps the constraints on what the scheduler keeps (object/swarm, Placement).
func (b *builder) place() {
	d := b.d
	for i, role := range d.AcceptedResourceRoles {
		if role != "*" && role != d.Role {
			b.bad.add(fmt.Sprintf("/acceptedResourceRoles/%d", i), "%q: an app has resources of its own role, and of *", role)
		}
	}
	if len(d.Constraints) == 0 {
		return
	}
	p := &swarm.Placement{}
	for i, c := range d.Constraints {
		b.constrain(p, fmt.Sprintf("/constraints/%d", i), c)
	}
	text, err := json.Marshal(p)
	if err != nil {
		b.bad.add("/constraints", "%v", err)
		return
	}
	b.pod.Annotations[swarm.PlacementAnnotation] = string(text)
}

// constrain adds one constraint: a field, an operator, and for most a value.
func (b *builder) constrain(p *swarm.Placement, path string, c []string) {
	if len(c) < 2 || len(c) > 3 {
		b.bad.add(path, "is a list of a field, an operator, and a value where the operator takes one")
		return
	}
	field, op, value, given := c[0], c[1], "", len(c) == 3
	if given {
		value = c[2]
	}
	label, special := attributes[field]
	if !special {
		label = field
	}
	match := swarm.Match{Label: label}
	switch op {
	case "IS", "LIKE", "UNLIKE":
		if !given {
			b.bad.add(path, "%s needs a value", op)
			return
		}
		switch op {
		case "IS":
			match.Equals = &value
		case "LIKE":
			match.Like = &value
		default:
			match.Unlike = &value
		}
		if _, err := regexp.Compile(value); err != nil && op != "IS" {
			b.bad.add(path, "Invalid regular expression: %v", err)
		}
	case "CLUSTER":
		if given && value != "" {
			match.Equals = &value
			break
		}
		b.spread(p, path, label, 0)
		p.GroupOne = true
	case "UNIQUE":
		if given {
			b.bad.add(path, "UNIQUE does not accept a value")
		}
		b.most(p, path, label, 1)
	case "MAX_PER":
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 1 {
			b.bad.add(path, "MAX_PER needs a whole number above 0, not %q", value)
			return
		}
		b.most(p, path, label, n)
	case "GROUP_BY":
		if _, err := strconv.ParseUint(value, 10, 32); given && err != nil {
			b.bad.add(path, "GROUP_BY accepts a whole number, not %q", value)
		}
		b.spread(p, path, label, 0)
	default:
		b.bad.add(path, "%q: the operator is UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER or IS", op)
		return
	}
	p.Match = append(p.Match, match)
}

// most bounds how many instances the nodes of one value take.
func (b *builder) most(p *swarm.Placement, path, label string, n int64) {
	if label == "" {
		if p.MaxPerNode == 0 || n < p.MaxPerNode {
			p.MaxPerNode = n
		}
		return
	}
	b.spread(p, path, label, n)
}

// spread groups nodes by a label. The scheduler keeps one such group.
func (b *builder) spread(p *swarm.Placement, path, label string, most int64) {
	if label == "" {
		label = corev1.LabelHostname
	}
	if len(p.Spread) > 0 && p.Spread[0] != label {
		b.bad.add(path, "two constraints count instances by different fields: one of UNIQUE, CLUSTER, GROUP_BY and MAX_PER by something else than the hostname is kept")
		return
	}
	p.Spread = []string{label}
	if most > 0 && (p.GroupMax == 0 || most < p.GroupMax) {
		p.GroupMax = most
	}
}
