package family_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/family"
)

func TestReading(t *testing.T) {
	for text, ok := range map[string]bool{
		"10.128.0.0/10": true, "fd00::/48": true, "10.128.0.0/10,fd00::/48": true, "fd00::/48,10.128.0.0/10": true,
		"": false, "ten": false, "10.128.0.1/10": false, "10.0.0.0/16,10.1.0.0/16": false, "10.0.0.0/16,fd00::/48,fd01::/48": false,
	} {
		if _, err := family.Prefixes(text); (err == nil) != ok {
			t.Errorf("networks %q: %v", text, err)
		}
	}
	for text, ok := range map[string]bool{"192.0.2.1": true, "2001:db8::1,192.0.2.1": true, "": false, "192.0.2.1,": false, "192.0.2.1,192.0.2.2": false} {
		if _, err := family.Addrs(text); (err == nil) != ok {
			t.Errorf("addresses %q: %v", text, err)
		}
	}
}

func TestFaults(t *testing.T) {
	policy := corev1.IPFamilyPolicy("Both")
	for _, c := range []struct {
		spec corev1.ServiceSpec
		want string
	}{
		{corev1.ServiceSpec{ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1", "fd00::1"}}, ""},
		{corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}}, ""},
		{corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None", "fd00::1"}}, "spec.clusterIPs"},
		{corev1.ServiceSpec{ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1", "10.96.0.2"}}, "spec.clusterIPs"},
		{corev1.ServiceSpec{ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.2"}}, "spec.clusterIPs"},
		{corev1.ServiceSpec{ClusterIP: "FD00::1"}, "spec.clusterIPs[0]"},
		{corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{"IPv6", "IPv6"}}, "spec.ipFamilies[1]"},
		{corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{"IPv5"}}, "spec.ipFamilies[0]"},
		{corev1.ServiceSpec{IPFamilyPolicy: &policy}, "spec.ipFamilyPolicy"},
	} {
		got := ""
		if errs := family.Faults(&c.spec, field.NewPath("spec")); len(errs) > 0 {
			got = errs[0].Field
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.spec, got, c.want)
		}
	}
}
