package validate

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits of what drivers say (API reference, CSIDriver and CSINode).
const (
	driverNameMax       = 63
	nodeIDMax           = 192
	tokenSecondsMin     = 600
	tokenSecondsMax     = 1 << 32
	allocatablePeriod   = 10 // seconds, at least
	attachedMetadataMax = 256 << 10
)

// csiObject checks what CSI drivers and their sidecars write; false: o is none.
func csiObject(o runtime.Object) (field.ErrorList, bool) {
	switch o := o.(type) {
	case *storagev1.VolumeAttachment:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), volumeAttachment(o)...), true
	case *storagev1.CSIDriver:
		errs := meta(o, false, apivalidation.NameIsDNSSubdomain)
		if len(o.Name) > driverNameMax {
			errs = append(errs, field.TooLong(field.NewPath("metadata", "name"), "", driverNameMax))
		}
		return append(errs, csiDriver(&o.Spec, field.NewPath("spec"))...), true
	case *storagev1.CSINode:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), csiNode(o)...), true
	case *storagev1.CSIStorageCapacity:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), csiCapacity(o)...), true
	}
	return nil, false
}

func csiUpdate(next, old runtime.Object) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	switch next := next.(type) {
	case *storagev1.VolumeAttachment:
		return apivalidation.ValidateImmutableField(next.Spec, old.(*storagev1.VolumeAttachment).Spec, spec)
	case *storagev1.CSIDriver:
		o := old.(*storagev1.CSIDriver)
		errs = append(errs, apivalidation.ValidateImmutableField(next.Spec.AttachRequired, o.Spec.AttachRequired, spec.Child("attachRequired"))...)
		return append(errs, apivalidation.ValidateImmutableField(next.Spec.VolumeLifecycleModes, o.Spec.VolumeLifecycleModes, spec.Child("volumeLifecycleModes"))...)
	case *storagev1.CSINode:
		return csiNodeUpdate(next, old.(*storagev1.CSINode), spec.Child("drivers"))
	case *storagev1.CSIStorageCapacity:
		o := old.(*storagev1.CSIStorageCapacity)
		errs = append(errs, apivalidation.ValidateImmutableField(next.NodeTopology, o.NodeTopology, field.NewPath("nodeTopology"))...)
		return append(errs, apivalidation.ValidateImmutableField(next.StorageClassName, o.StorageClassName, field.NewPath("storageClassName"))...)
	}
	return nil
}

// driverName checks the name of a CSI driver.
func driverName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if len(name) > driverNameMax {
		return field.ErrorList{field.TooLong(at, "", driverNameMax)}
	}
	return subdomain(name, at)
}

func volumeAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	at := field.NewPath("spec")
	errs := driverName(a.Spec.Attacher, at.Child("attacher"))
	src, p := &a.Spec.Source, at.Child("source")
	switch {
	case src.PersistentVolumeName != nil && src.InlineVolumeSpec != nil:
		errs = append(errs, field.Forbidden(p, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case src.InlineVolumeSpec != nil:
		errs = append(errs, persistentSource(src.InlineVolumeSpec, p.Child("inlineVolumeSpec"))...)
	case src.PersistentVolumeName == nil:
		errs = append(errs, field.Required(p, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case *src.PersistentVolumeName == "":
		errs = append(errs, field.Required(p.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
	default:
		errs = append(errs, subdomain(*src.PersistentVolumeName, p.Child("persistentVolumeName"))...)
	}
	if a.Spec.NodeName == "" {
		return append(errs, field.Required(at.Child("nodeName"), ""))
	}
	return append(errs, subdomain(a.Spec.NodeName, at.Child("nodeName"))...)
}

func volumeAttachmentStatus(s *storagev1.VolumeAttachmentStatus, at *field.Path) field.ErrorList {
	size := 0
	for k, v := range s.AttachmentMetadata {
		size += len(k) + len(v)
	}
	if size > attachedMetadataMax {
		return field.ErrorList{field.TooLong(at.Child("attachmentMetadata"), "", attachedMetadataMax)}
	}
	return nil
}

func csiDriver(s *storagev1.CSIDriverSpec, at *field.Path) (errs field.ErrorList) {
	if s.AttachRequired == nil {
		errs = append(errs, field.Required(at.Child("attachRequired"), ""))
	}
	if s.FSGroupPolicy != nil {
		errs = append(errs, oneOf(*s.FSGroupPolicy, at.Child("fsGroupPolicy"),
			storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy)...)
	}
	for i, m := range s.VolumeLifecycleModes {
		errs = append(errs, oneOf(m, at.Child("volumeLifecycleModes").Index(i), storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)...)
	}
	audiences := map[string]bool{}
	for i, t := range s.TokenRequests {
		p := at.Child("tokenRequests").Index(i)
		if audiences[t.Audience] {
			errs = append(errs, field.Duplicate(p.Child("audience"), t.Audience))
		}
		audiences[t.Audience] = true
		if n := t.ExpirationSeconds; n != nil && (*n < tokenSecondsMin || *n > tokenSecondsMax) {
			errs = append(errs, field.Invalid(p.Child("expirationSeconds"), *n, "may not specify a duration less than 10 minutes or more than 2^32 seconds"))
		}
	}
	if n := s.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < allocatablePeriod {
		errs = append(errs, field.Invalid(at.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds"))
	}
	return errs
}

func csiNode(n *storagev1.CSINode) (errs field.ErrorList) {
	names := map[string]bool{}
	for i := range n.Spec.Drivers {
		d, at := &n.Spec.Drivers[i], field.NewPath("spec", "drivers").Index(i)
		errs = append(errs, driverName(d.Name, at.Child("name"))...)
		if names[d.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), d.Name))
		}
		names[d.Name] = true
		errs = append(errs, required(d.NodeID, at.Child("nodeID"))...)
		if len(d.NodeID) > nodeIDMax {
			errs = append(errs, field.Invalid(at.Child("nodeID"), d.NodeID, "must be 192 characters or less"))
		}
		keys := map[string]bool{}
		for _, k := range d.TopologyKeys {
			for _, msg := range validation.IsQualifiedName(k) {
				errs = append(errs, field.Invalid(at.Child("topologyKeys"), k, msg))
			}
			if keys[k] {
				errs = append(errs, field.Duplicate(at.Child("topologyKeys"), k))
			}
			keys[k] = true
		}
		if a := d.Allocatable; a != nil && a.Count != nil {
			errs = append(errs, nonNegative(int64(*a.Count), at.Child("allocatable", "count"))...)
		}
	}
	return errs
}

// csiNodeUpdate lets drivers come and go; one that stays says the same.
func csiNodeUpdate(next, old *storagev1.CSINode, at *field.Path) (errs field.ErrorList) {
	was := map[string]storagev1.CSINodeDriver{}
	for _, d := range old.Spec.Drivers {
		was[d.Name] = d
	}
	for i, d := range next.Spec.Drivers {
		o, ok := was[d.Name]
		if !ok {
			continue
		}
		errs = append(errs, apivalidation.ValidateImmutableField(d.NodeID, o.NodeID, at.Index(i).Child("nodeID"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(d.TopologyKeys, o.TopologyKeys, at.Index(i).Child("topologyKeys"))...)
	}
	return errs
}

func notNegative(q *resource.Quantity, at *field.Path) field.ErrorList {
	if q == nil || q.Sign() >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, quantity(*q), apivalidation.IsNegativeErrorMsg)}
}

func csiCapacity(c *storagev1.CSIStorageCapacity) (errs field.ErrorList) {
	errs = append(errs, notNegative(c.Capacity, field.NewPath("capacity"))...)
	errs = append(errs, notNegative(c.MaximumVolumeSize, field.NewPath("maximumVolumeSize"))...)
	if c.NodeTopology != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(c.NodeTopology, metavalidation.LabelSelectorValidationOptions{}, field.NewPath("nodeTopology"))...)
	}
	if c.StorageClassName == "" {
		return append(errs, field.Required(field.NewPath("storageClassName"), ""))
	}
	return append(errs, subdomain(c.StorageClassName, field.NewPath("storageClassName"))...)
}

// storageStatus checks the statuses of volumes and claims.
func storageStatus(o runtime.Object, at *field.Path) (errs field.ErrorList) {
	switch o := o.(type) {
	case *storagev1.VolumeAttachment:
		return volumeAttachmentStatus(&o.Status, at)
	case *corev1.PersistentVolumeClaim:
		for name, q := range o.Status.Capacity {
			if q.Sign() < 0 {
				errs = append(errs, field.Invalid(at.Child("capacity").Key(string(name)), quantity(q), apivalidation.IsNegativeErrorMsg))
			}
		}
	}
	return errs
}
