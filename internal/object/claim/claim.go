package claim

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"trireme/internal/object"
)

// The annotations that binder, scheduler and provisioners know each other by
// (Kubernetes, "Well-Known Labels, Annotations and Taints").
const (
	// BindCompleted on a claim: it was bound once.
	BindCompleted = "pv.kubernetes.io/bind-completed"
	// BoundByController on either side: the binder, not the user, chose the other.
	BoundByController = "pv.kubernetes.io/bound-by-controller"
	// SelectedNode on a claim: where its first pod goes, so where its volume is made.
	SelectedNode = "volume.kubernetes.io/selected-node"
	// Provisioner on a claim: who is to make its volume; BetaProvisioner is how
	// older provisioners look for it.
	Provisioner     = "volume.kubernetes.io/storage-provisioner"
	BetaProvisioner = "volume.beta.kubernetes.io/storage-provisioner"
	// ProvisionedBy on a volume: who made it.
	ProvisionedBy = "pv.kubernetes.io/provisioned-by"

	betaClass = "volume.beta.kubernetes.io/storage-class"
)

const (
	// NoProvisioner is the provisioner of classes whose volumes are made by hand.
	NoProvisioner = "kubernetes.io/no-provisioner"
	// LocalProvisioner is our own: directories on a node's disk.
	LocalProvisioner = "trireme.dev/local"
)

// MadeOf is the annotation of a volume of LocalProvisioner that says what its node makes it
// of, by the name that it has there: "snapshot/NAME" or "volume/NAME".
const MadeOf = "trireme.dev/made-of"

// The finalizers that keep what is in use.
const (
	VolumeProtection = "kubernetes.io/pv-protection"
	ClaimProtection  = "kubernetes.io/pvc-protection"
	// LocalData keeps a volume of LocalProvisioner until its node has removed it.
	LocalData = "trireme.dev/local-data"
)

// Class returns the name of the class that the claim asks for; empty: of none.
func Class(c *corev1.PersistentVolumeClaim) string {
	if name, ok := c.Annotations[betaClass]; ok {
		return name
	}
	if c.Spec.StorageClassName != nil {
		return *c.Spec.StorageClassName
	}
	return ""
}

// VolumeClass returns the name of the volume's class.
func VolumeClass(v *corev1.PersistentVolume) string {
	if name, ok := v.Annotations[betaClass]; ok {
		return name
	}
	return v.Spec.StorageClassName
}

// The annotations that mark the class of claims that name none (Kubernetes,
// "Default StorageClass").
const (
	defaultClass     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultClass = "storageclass.beta.kubernetes.io/is-default-class"
)

// IsDefault reports whether claims that name no class get this one.
func IsDefault(class *storagev1.StorageClass) bool {
	return class.Annotations[defaultClass] == "true" || class.Annotations[betaDefaultClass] == "true"
}

// Waits reports whether claims of the class are bound only when a pod names them.
func Waits(class *storagev1.StorageClass) bool {
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// HoldsFor reports whether the volume names the claim, with its UID or, where a
// user wrote it, without.
func HoldsFor(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	ref := v.Spec.ClaimRef
	return ref != nil && ref.Namespace == c.Namespace && ref.Name == c.Name && (ref.UID == "" || ref.UID == c.UID)
}

// Satisfies says why the volume cannot serve the claim, whoever chose it; empty:
// it can.
func Satisfies(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) string {
	want, have := c.Spec.Resources.Requests[corev1.ResourceStorage], v.Spec.Capacity[corev1.ResourceStorage]
	switch {
	case have.Cmp(want) < 0:
		return "requested PV is too small"
	case VolumeClass(v) != Class(c):
		return "storageClassName does not match"
	case mode(v.Spec.VolumeMode) != mode(c.Spec.VolumeMode):
		return "incompatible volumeMode"
	case !slices.ContainsFunc(c.Spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool { return !slices.Contains(v.Spec.AccessModes, m) }):
		return ""
	}
	return "incompatible accessMode"
}

// Block reports whether the volume is a device, not a file system.
func Block(v *corev1.PersistentVolume) bool {
	return mode(v.Spec.VolumeMode) == corev1.PersistentVolumeBlock
}

func mode(m *corev1.PersistentVolumeMode) corev1.PersistentVolumeMode {
	if m == nil {
		return corev1.PersistentVolumeFilesystem
	}
	return *m
}

// Fits reports whether a volume that nobody claimed may serve the claim.
func Fits(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	if v.Spec.ClaimRef != nil || v.DeletionTimestamp != nil || v.Status.Phase != corev1.VolumeAvailable || Satisfies(v, c) != "" {
		return false
	}
	if _, ok := SourceOf(c); ok {
		return false // it is to have other data
	}
	if attributes(v.Spec.VolumeAttributesClassName) != attributes(c.Spec.VolumeAttributesClassName) {
		return false
	}
	if c.Spec.Selector == nil {
		return true
	}
	sel, err := metav1.LabelSelectorAsSelector(c.Spec.Selector)
	return err == nil && sel.Matches(labels.Set(v.Labels))
}

func attributes(name *string) string {
	if name == nil {
		return ""
	}
	return *name
}

// Smaller orders volumes by size, then by name: the first that fits wastes least.
func Smaller(a, b *corev1.PersistentVolume) int {
	x, y := a.Spec.Capacity[corev1.ResourceStorage], b.Spec.Capacity[corev1.ResourceStorage]
	if c := x.Cmp(y); c != 0 {
		return c
	}
	return object.KeyOf(a).Compare(object.KeyOf(b))
}

// FitsNode reports whether the volume can be reached from the node.
func FitsNode(v *corev1.PersistentVolume, n *corev1.Node) bool {
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return true
	}
	sel, err := nodeaffinity.NewNodeSelector(v.Spec.NodeAffinity.Required)
	return err == nil && sel.Match(n)
}

// AllowsNode reports whether the class makes volumes for the node.
func AllowsNode(class *storagev1.StorageClass, n *corev1.Node) bool {
	if len(class.AllowedTopologies) == 0 {
		return true
	}
	return slices.ContainsFunc(class.AllowedTopologies, func(t corev1.TopologySelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchLabelExpressions, func(e corev1.TopologySelectorLabelRequirement) bool {
			value, ok := n.Labels[e.Key]
			return !ok || !slices.Contains(e.Values, value)
		})
	})
}

// OfPod returns the keys of the claims that the pod names, in the order of its
// volumes; those of its ephemeral volumes too.
func OfPod(p *corev1.Pod) []object.Key {
	var keys []object.Key
	for i := range p.Spec.Volumes {
		if name := NameFor(p, &p.Spec.Volumes[i]); name != "" {
			keys = append(keys, object.Key{Namespace: p.Namespace, Name: name})
		}
	}
	return keys
}

// NameFor returns the name of the claim behind one of the pod's volumes; empty:
// there is none.
func NameFor(p *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return p.Name + "-" + v.Name
	}
	return ""
}

// Owns reports whether the claim was made for this very pod's ephemeral volume.
func Owns(p *corev1.Pod, c *corev1.PersistentVolumeClaim) bool { return metav1.IsControlledBy(c, p) }

// BoundTo reports whether claim and volume name each other.
func BoundTo(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) bool {
	return c.Spec.VolumeName == v.Name && v.Spec.ClaimRef != nil && v.Spec.ClaimRef.UID == c.UID && HoldsFor(v, c)
}

// LocalNode returns the node whose disk holds the volume, where it is one that
// LocalProvisioner made; empty otherwise.
func LocalNode(v *corev1.PersistentVolume) string {
	if v.Annotations[ProvisionedBy] != LocalProvisioner || v.Spec.Local == nil {
		return ""
	}
	return v.Annotations[SelectedNode]
}

// LocalDisk returns how many bytes of the node's disk volumes of LocalProvisioner may have
// together: what pods may have of it. false: the node does not say.
func LocalDisk(n *corev1.Node) (int64, bool) {
	q, ok := n.Status.Allocatable[corev1.ResourceEphemeralStorage]
	return q.Value(), ok
}

// LocalName is how a node's status names a volume of LocalProvisioner that has
// data there.
func LocalName(volume string) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName(LocalProvisioner + "/" + volume)
}
