package volume

import (
	"encoding/pem"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// trustBundle adds the authorities of one bundle, or of all of a signer's that
// the labels pick (API reference, ClusterTrustBundleProjection): each once, as
// PEM blocks with nothing between them.
func (m *Manager) trustBundle(files map[string]file, src *corev1.ClusterTrustBundleProjection, mode int32) error {
	found, what, err := m.bundles(src)
	if err != nil {
		return err
	}
	if len(found) == 0 && (src.Optional == nil || !*src.Optional) {
		return fmt.Errorf("%s not found", what)
	}
	var anchors []string
	for _, b := range found {
		for block, rest := pem.Decode([]byte(b.Spec.TrustBundle)); block != nil; block, rest = pem.Decode(rest) {
			block.Headers = nil
			anchors = append(anchors, string(pem.EncodeToMemory(block)))
		}
	}
	slices.Sort(anchors) // the same authorities are the same file, whichever bundles they come from
	var data []byte
	for _, a := range slices.Compact(anchors) {
		data = append(data, a...)
	}
	return add(files, src.Path, file{data: data, mode: mode})
}

// bundles returns the bundles that a volume means, and their name for people. No
// selector picks none, an empty one picks all.
func (m *Manager) bundles(src *corev1.ClusterTrustBundleProjection) (found []*certificatesv1.ClusterTrustBundle, what string, err error) {
	if src.Name != nil && *src.Name != "" {
		what = fmt.Sprintf("clustertrustbundle %q", *src.Name)
		for _, b := range m.objects.TrustBundles() {
			if b.Name == *src.Name {
				found = append(found, b)
			}
		}
		return found, what, nil
	}
	signer := ""
	if src.SignerName != nil {
		signer = *src.SignerName
	}
	sel, err := metav1.LabelSelectorAsSelector(src.LabelSelector)
	if err != nil {
		return nil, "", fmt.Errorf("clusterTrustBundle.labelSelector: %w", err)
	}
	for _, b := range m.objects.TrustBundles() {
		if b.Spec.SignerName == signer && sel.Matches(labels.Set(b.Labels)) {
			found = append(found, b)
		}
	}
	return found, fmt.Sprintf("a clustertrustbundle of signer %q with labels %q", signer, sel), nil
}
