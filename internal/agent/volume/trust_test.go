package volume

import (
	"encoding/pem"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trusting are objects with trust bundles.
type trusting struct {
	fakeObjects
	list []*certificatesv1.ClusterTrustBundle
}

func (f trusting) TrustBundles() []*certificatesv1.ClusterTrustBundle { return f.list }

// anchors returns PEM blocks of the words, a word for a certificate.
func anchors(words ...string) string {
	var out strings.Builder
	for _, w := range words {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(w)}))
	}
	return out.String()
}

func TestTrustBundles(t *testing.T) {
	bundle := func(name, signer, label, pem string) *certificatesv1.ClusterTrustBundle {
		b := &certificatesv1.ClusterTrustBundle{Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: pem}}
		b.Name, b.Labels = name, map[string]string{"l": label}
		return b
	}
	m, objs, _ := manager(t)
	m.objects = trusting{objs, []*certificatesv1.ClusterTrustBundle{
		bundle("e.com:s:1", "e.com/s", "a", "between\n"+anchors("one", "two")), bundle("e.com:s:2", "e.com/s", "b", anchors("two", "three")), bundle("own", "", "a", anchors("four")),
	}}
	text := func(s string) *string { return &s }
	yes := true
	picks := func(l ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "l", Operator: metav1.LabelSelectorOpIn, Values: l}}}
	}
	for name, c := range map[string]struct {
		src   corev1.ClusterTrustBundleProjection
		want  []string
		fault string
	}{
		"by name":               {corev1.ClusterTrustBundleProjection{Name: text("own")}, []string{"four"}, ""},
		"none of the name":      {corev1.ClusterTrustBundleProjection{Name: text("gone")}, nil, `"gone" not found`},
		"none, and need not be": {corev1.ClusterTrustBundleProjection{Name: text("gone"), Optional: &yes}, []string{}, ""},
		"all of the signer":     {corev1.ClusterTrustBundleProjection{SignerName: text("e.com/s"), LabelSelector: &metav1.LabelSelector{}}, []string{"one", "two", "three"}, ""},
		"some of the signer":    {corev1.ClusterTrustBundleProjection{SignerName: text("e.com/s"), LabelSelector: picks("b")}, []string{"two", "three"}, ""},
		"no selector":           {corev1.ClusterTrustBundleProjection{SignerName: text("e.com/s")}, nil, "not found"},
		"no selector, optional": {corev1.ClusterTrustBundleProjection{SignerName: text("e.com/s"), Optional: &yes}, []string{}, ""},
	} {
		c.src.Path = "ca.pem"
		vs, err := m.Setup(podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ClusterTrustBundle: &c.src}},
		}}}))
		if c.want == nil {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %q", name, err, c.fault)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := read(t, vs["v"].Path+"/ca.pem")
		for _, w := range c.want {
			if strings.Count(got, anchors(w)) != 1 {
				t.Errorf("%s: %q is not there once:\n%s", name, w, got)
			}
		}
		if n := strings.Count(got, "BEGIN"); n != len(c.want) || strings.Contains(got, "between") {
			t.Errorf("%s: %d authorities, want %d:\n%s", name, n, len(c.want), got)
		}
	}
}
