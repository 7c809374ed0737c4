package kube

import (
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// TestMerged: what a writer may not change stays as it was, and the rest keeps
// the writer's order.
func TestMerged(t *testing.T) {
	type condition = certificatesv1.CertificateSigningRequestCondition
	approved := condition{Type: certificatesv1.CertificateApproved, Reason: "old"}
	for _, c := range []struct {
		name      string
		next, old []condition
		want      string
	}{
		{"added behind", []condition{{Type: "A"}, {Type: certificatesv1.CertificateApproved, Reason: "new"}, {Type: "B"}}, []condition{{Type: "A"}, approved}, "A Approved=old B"},
		{"left out", []condition{{Type: "B"}}, []condition{approved}, "B Approved=old"},
		{"not there before", []condition{{Type: certificatesv1.CertificateApproved}, {Type: "B"}}, nil, "B"},
	} {
		var got []string
		for _, m := range merged(c.next, c.old, certificatesv1.CertificateApproved) {
			text := string(m.Type)
			if m.Reason != "" {
				text += "=" + m.Reason
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
