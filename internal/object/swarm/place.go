package swarm

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// ManagerLabel is on nodes that are managers too, as Kubernetes' own tools set it.
const ManagerLabel = "node-role.kubernetes.io/control-plane"

// constraint is KEY==VALUE or KEY!=VALUE (docker service create, --constraint).
var constraint = regexp.MustCompile(`^\s*([a-zA-Z0-9._/-]+)\s*(==|!=)\s*(.*?)\s*$`)

// architectures are Kubernetes' words for the kernel's, which docker shows.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}

// place maps constraints to what the pod requires of its node, preferences to what it
// would like.
func (b *builder) place(p *swarm.Placement) error {
	if p == nil {
		return nil
	}
	var term corev1.NodeSelectorTerm
	for i, text := range p.Constraints {
		if err := b.require(&term, text); err != nil {
			return fmt.Errorf("Constraints[%d]: %w", i, err)
		}
	}
	affinity := &corev1.Affinity{}
	if len(term.MatchExpressions)+len(term.MatchFields) > 0 {
		affinity.NodeAffinity = &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}}}
	}
	mine := &metav1.LabelSelector{MatchLabels: map[string]string{ServiceLabel: b.service.Name}}
	switch p.MaxReplicas {
	case 0:
	case 1:
		affinity.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{LabelSelector: mine, TopologyKey: corev1.LabelHostname},
		}}
	default:
		return fmt.Errorf("MaxReplicas: %d tasks a node cannot be told apart from others here: use 1, or leave it away", p.MaxReplicas)
	}
	if affinity.NodeAffinity != nil || affinity.PodAntiAffinity != nil {
		b.pod.Spec.Affinity = affinity
	}
	for i, pref := range p.Preferences {
		if pref.Spread == nil {
			continue
		}
		key, ok := strings.CutPrefix(pref.Spread.SpreadDescriptor, "node.labels.")
		if !ok {
			return fmt.Errorf("Preferences[%d].Spread.SpreadDescriptor: %q is no label of nodes: write node.labels.NAME", i, pref.Spread.SpreadDescriptor)
		}
		b.pod.Spec.TopologySpreadConstraints = append(b.pod.Spec.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: mine,
		})
	}
	return nil
}

// require adds a constraint to a term.
func (b *builder) require(term *corev1.NodeSelectorTerm, text string) error {
	m := constraint.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("%q is not of the form KEY==VALUE or KEY!=VALUE", text)
	}
	key, equal, value := m[1], m[2] == "==", m[3]
	r := corev1.NodeSelectorRequirement{Operator: corev1.NodeSelectorOpNotIn, Values: []string{value}}
	if equal {
		r.Operator = corev1.NodeSelectorOpIn
	}
	label, isLabel := strings.CutPrefix(key, "node.labels.")
	switch {
	case isLabel:
		r.Key = label
	case key == "node.id":
		r.Key, r.Values = metav1.ObjectNameField, []string{b.task.nodeName(value)}
		term.MatchFields = append(term.MatchFields, r)
		return nil
	case key == "node.hostname":
		r.Key = corev1.LabelHostname
	case key == "node.platform.os":
		r.Key = corev1.LabelOSStable
	case key == "node.platform.arch":
		if word, ok := architectures[value]; ok {
			r.Values[0] = word
		}
		r.Key = corev1.LabelArchStable
	case key == "node.role":
		if value != string(swarm.NodeRoleManager) && value != string(swarm.NodeRoleWorker) {
			return fmt.Errorf("%q: a role is manager or worker", text)
		}
		r = corev1.NodeSelectorRequirement{Key: ManagerLabel, Operator: corev1.NodeSelectorOpDoesNotExist}
		if equal == (value == string(swarm.NodeRoleManager)) {
			r.Operator = corev1.NodeSelectorOpExists
		}
	default:
		return fmt.Errorf("%q: nodes are known by node.id, node.hostname, node.role, node.platform.os, node.platform.arch and node.labels.NAME", text)
	}
	if msgs := validation.IsValidLabelValue(value); len(msgs) > 0 {
		return fmt.Errorf("%q: no node has such a value: %s", text, msgs[0])
	}
	term.MatchExpressions = append(term.MatchExpressions, r)
	return nil
}

// nodeName returns the name of the node with the id, or of none.
func (t Task) nodeName(id string) string {
	if t.NodeName != nil {
		if name := t.NodeName(id); name != "" {
			return name
		}
	}
	return id
}
