package snapshot

import (
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"trireme/internal/object/claim"
	"trireme/internal/object/definition"
)

// Driver is that of classes and contents that this cluster's agents serve.
const Driver = claim.LocalProvisioner

// Class is the VolumeSnapshotClass that every cluster has.
const Class = "local"

// Table is what sessions call the contents that they carry.
const Table = "volumesnapshotcontents"

// The finalizers that keep what is in use, and the annotation of a content whose snapshot
// is on its way out (external-snapshotter, pkg/utils).
const (
	Protection        = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"
	SourceProtection  = "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"
	ContentProtection = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"
	ClaimProtection   = "snapshot.storage.kubernetes.io/pvc-as-source-protection"
	BeingDeleted      = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"

	defaultClass = "snapshot.storage.kubernetes.io/is-default-class"
)

// OnNode is the annotation of a VolumeSnapshot that this cluster's agents serve: the node
// that has it.
const OnNode = "trireme.dev/node"

//go:embed definitions_gen.json.gz
var compressed []byte

// Definitions are those of the kinds. Their makers do not say which release one is of: it is
// known by all that it says.
var Definitions = definition.Pack{Name: "volume snapshots", Compressed: compressed, Release: release}

func release(d *apiextensionsv1.CustomResourceDefinition) string {
	b, err := json.Marshal(d.Spec)
	if err != nil {
		return "" // none can be encoded: nobody's, so kept
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))[:16]
}

// DefaultClass returns the VolumeSnapshotClass that every cluster has.
func DefaultClass() *snapshotv1.VolumeSnapshotClass {
	return &snapshotv1.VolumeSnapshotClass{
		ObjectMeta: metav1.ObjectMeta{Name: Class, Annotations: map[string]string{defaultClass: "true"}, Generation: 1},
		Driver:     Driver, DeletionPolicy: snapshotv1.VolumeSnapshotContentDelete,
	}
}

// IsDefault reports whether snapshots that name no class get this one, where its driver is
// their volume's.
func IsDefault(c *snapshotv1.VolumeSnapshotClass) bool { return c.Annotations[defaultClass] == "true" }

// ContentName returns the name of the content that is made for a snapshot of a claim.
func ContentName(s *snapshotv1.VolumeSnapshot) string { return "snapcontent-" + string(s.UID) }

// Handle returns what a content calls a volume, or a snapshot, that lies on a node.
func Handle(node, name string) string { return node + "/" + name }

// Place returns where the snapshot of a content lies: the node, its name there and the
// volume that it is taken of, empty where the content is made for one that is there. false:
// it is not of Driver, or not to be understood.
func Place(c *snapshotv1.VolumeSnapshotContent) (node, name, volume string, ok bool) {
	if c.Spec.Driver != Driver {
		return "", "", "", false
	}
	handle := c.Spec.Source.SnapshotHandle
	if handle == nil {
		handle = c.Spec.Source.VolumeHandle
	}
	if handle == nil {
		return "", "", "", false
	}
	node, name, _ = strings.Cut(*handle, "/")
	if c.Spec.Source.VolumeHandle != nil {
		volume, name = name, "snapshot-"+string(c.Spec.VolumeSnapshotRef.UID)
	}
	for _, part := range []string{node, name, volume} {
		if part != "" && len(validation.IsDNS1123Subdomain(part)) > 0 { // it becomes a path
			return "", "", "", false
		}
	}
	return node, name, volume, node != "" && name != "" && (volume != "" || c.Spec.Source.SnapshotHandle != nil)
}

// Ready reports whether a content's snapshot is there.
func Ready(c *snapshotv1.VolumeSnapshotContent) bool {
	return c.Status != nil && c.Status.ReadyToUse != nil && *c.Status.ReadyToUse
}

// Leaves reports whether a content is on its way out, and no snapshot needs it any more.
func Leaves(c *snapshotv1.VolumeSnapshotContent) bool {
	return c.DeletionTimestamp != nil && (c.Annotations[BeingDeleted] == "yes" || c.Spec.VolumeSnapshotRef.UID == "")
}

// Names reports whether the content is the snapshot's.
func Names(c *snapshotv1.VolumeSnapshotContent, s *snapshotv1.VolumeSnapshot) bool {
	ref := &c.Spec.VolumeSnapshotRef
	return ref.Namespace == s.Namespace && ref.Name == s.Name && ref.UID == s.UID
}

// Status returns what a content says to the snapshot that it is of.
func Status(c *snapshotv1.VolumeSnapshotContent) *snapshotv1.VolumeSnapshotStatus {
	ready := Ready(c)
	out := &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: &c.Name, ReadyToUse: &ready}
	if c.Status == nil {
		return out
	}
	if ns := c.Status.CreationTime; ns != nil {
		at := metav1.NewTime(time.Unix(*ns/1e9, 0))
		out.CreationTime = &at
	}
	if size := c.Status.RestoreSize; size != nil {
		out.RestoreSize = resource.NewQuantity(*size, resource.BinarySI)
	}
	out.Error = c.Status.Error
	return out
}

// Content is a content as sessions carry it: its JSON (package wire).
type Content struct {
	snapshotv1.VolumeSnapshotContent
}

// Marshal returns the object's JSON.
func (c *Content) Marshal() ([]byte, error) { return json.Marshal(&c.VolumeSnapshotContent) }

// Unmarshal is the inverse of Marshal.
func (c *Content) Unmarshal(b []byte) error { return json.Unmarshal(b, &c.VolumeSnapshotContent) }

// DeepCopyObject returns a copy that shares nothing.
func (c *Content) DeepCopyObject() runtime.Object {
	return &Content{*c.VolumeSnapshotContent.DeepCopy()}
}
