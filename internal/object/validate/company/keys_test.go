package company

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestTermKeys(t *testing.T) {
	one := &metav1.LabelSelector{MatchLabels: map[string]string{"x": "a"}}
	merged := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: metav1.LabelSelectorOpIn, Values: []string{"a"}}}}
	for name, tc := range map[string]struct {
		term corev1.PodAffinityTerm
		want string // the field; empty: none
	}{
		"fine":                   {corev1.PodAffinityTerm{LabelSelector: one, MatchLabelKeys: []string{"y"}, MismatchLabelKeys: []string{"z"}}, ""},
		"as Kubernetes keeps it": {corev1.PodAffinityTerm{LabelSelector: merged, MatchLabelKeys: []string{"x"}}, ""},
		"no selector":            {corev1.PodAffinityTerm{MatchLabelKeys: []string{"x"}}, "t.matchLabelKeys"},
		"in the selector":        {corev1.PodAffinityTerm{LabelSelector: one, MismatchLabelKeys: []string{"x"}}, "t.mismatchLabelKeys[0]"},
		"in both":                {corev1.PodAffinityTerm{LabelSelector: one, MatchLabelKeys: []string{"y"}, MismatchLabelKeys: []string{"y"}}, "t.matchLabelKeys[0]"},
		"no key":                 {corev1.PodAffinityTerm{LabelSelector: one, MatchLabelKeys: []string{"a b"}}, "t.matchLabelKeys[0]"},
	} {
		errs := TermKeys(&tc.term, field.NewPath("t"))
		if len(errs) > 1 || len(errs) == 0 != (tc.want == "") || len(errs) == 1 && errs[0].Field != tc.want {
			t.Errorf("%s: %v, want %q", name, errs, tc.want)
		}
	}
}

func TestTwins(t *testing.T) {
	list := []corev1.TopologySpreadConstraint{
		{TopologyKey: "a", WhenUnsatisfiable: corev1.DoNotSchedule}, {TopologyKey: "a", WhenUnsatisfiable: corev1.ScheduleAnyway}, {TopologyKey: "a", WhenUnsatisfiable: corev1.DoNotSchedule},
	}
	for i, want := range []int{0, 0, 1} {
		if errs := Twins(list, i, field.NewPath("t").Index(i)); len(errs) != want {
			t.Errorf("constraint %d: %v, want %d errors", i, errs, want)
		}
	}
}
