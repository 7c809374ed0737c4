package claim

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// Source is what a claim wants its volume made of, in its own namespace.
type Source struct{ Group, Kind, Name string }

// The kinds of sources that LocalProvisioner makes volumes of.
const (
	snapshotGroup = "snapshot.storage.k8s.io"
	snapshotKind  = "VolumeSnapshot"
	claimKind     = "PersistentVolumeClaim"
)

// FromSnapshot is the source that is a VolumeSnapshot.
func FromSnapshot(name string) Source { return Source{snapshotGroup, snapshotKind, name} }

// FromClaim is the source that is another claim.
func FromClaim(name string) Source { return Source{"", claimKind, name} }

// SourceOf returns what the claim wants its volume made of; false: of nothing. One in another
// namespace has a name that no object has: NAMESPACE/NAME.
func SourceOf(c *corev1.PersistentVolumeClaim) (Source, bool) {
	group := func(g *string) string {
		if g == nil {
			return ""
		}
		return *g
	}
	if d := c.Spec.DataSourceRef; d != nil {
		name := d.Name
		if d.Namespace != nil && *d.Namespace != "" && *d.Namespace != c.Namespace {
			name = *d.Namespace + "/" + name
		}
		return Source{group(d.APIGroup), d.Kind, name}, true
	}
	if d := c.Spec.DataSource; d != nil {
		return Source{group(d.APIGroup), d.Kind, d.Name}, true
	}
	return Source{}, false
}

// Placed reports whether the claim's volume has its place without a pod's: that of what it is
// made of.
func Placed(c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) bool {
	_, ok := SourceOf(c)
	return ok && class != nil && class.Provisioner == LocalProvisioner
}
