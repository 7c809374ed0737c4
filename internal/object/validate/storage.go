package validate

import (
	"path"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// storageObject checks the kinds that volumes are made of; false: o is none.
func storageObject(o runtime.Object) (field.ErrorList, bool) {
	switch o := o.(type) {
	case *corev1.PersistentVolume:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), persistentVolume(o)...), true
	case *corev1.PersistentVolumeClaim:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), claimSpec(&o.Spec, field.NewPath("spec"))...), true
	case *storagev1.StorageClass:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), storageClass(o)...), true
	case *storagev1.VolumeAttributesClass:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), volumeAttributesClass(o)...), true
	}
	return csiObject(o)
}

// storageUpdate checks that next may replace old.
func storageUpdate(next, old runtime.Object) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	switch next := next.(type) {
	case *corev1.PersistentVolume:
		return persistentVolumeUpdate(next, old.(*corev1.PersistentVolume), spec)
	case *corev1.PersistentVolumeClaim:
		return claimUpdate(next, old.(*corev1.PersistentVolumeClaim), spec)
	case *storagev1.StorageClass:
		o := old.(*storagev1.StorageClass)
		errs = append(errs, fixed(next.Parameters, o.Parameters, field.NewPath("parameters"), "updates to parameters are forbidden.")...)
		errs = append(errs, fixed(next.Provisioner, o.Provisioner, field.NewPath("provisioner"), "updates to provisioner are forbidden.")...)
		errs = append(errs, fixed(next.ReclaimPolicy, o.ReclaimPolicy, field.NewPath("reclaimPolicy"), "updates to reclaimPolicy are forbidden.")...)
		return append(errs, apivalidation.ValidateImmutableField(next.VolumeBindingMode, o.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
	case *storagev1.VolumeAttributesClass:
		o := old.(*storagev1.VolumeAttributesClass)
		errs = append(errs, fixed(next.DriverName, o.DriverName, field.NewPath("driverName"), "updates to driverName are forbidden.")...)
		return append(errs, fixed(next.Parameters, o.Parameters, field.NewPath("parameters"), "updates to parameters are forbidden.")...)
	}
	return csiUpdate(next, old)
}

// fixed refuses a field that may not change, with the given words.
func fixed(next, old any, at *field.Path, words string) field.ErrorList {
	if equality.Semantic.DeepEqual(next, old) {
		return nil
	}
	return field.ErrorList{field.Forbidden(at, words)}
}

func subdomain(name string, at *field.Path) (errs field.ErrorList) {
	for _, msg := range validation.IsDNS1123Subdomain(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

// accessModes checks how a volume may be used: at least one way, and one that
// allows a single pod allows no other.
func accessModes(list []corev1.PersistentVolumeAccessMode, at *field.Path) (errs field.ErrorList) {
	if len(list) == 0 {
		return field.ErrorList{field.Required(at, "at least 1 access mode is required")}
	}
	for _, m := range list {
		errs = append(errs, oneOf(m, at, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)...)
	}
	if len(list) > 1 && slices.Contains(list, corev1.ReadWriteOncePod) {
		errs = append(errs, field.Forbidden(at, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// storageSize checks a list of resources that must hold a size of storage.
func storageSize(list corev1.ResourceList, at *field.Path) field.ErrorList {
	q, ok := list[corev1.ResourceStorage]
	if !ok {
		return field.ErrorList{field.Required(at.Key(string(corev1.ResourceStorage)), "")}
	}
	if q.Sign() <= 0 {
		return field.ErrorList{field.Invalid(at.Key(string(corev1.ResourceStorage)), quantity(q), "must be greater than zero")}
	}
	return nil
}

func volumeMode(m *corev1.PersistentVolumeMode, at *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	return oneOf(*m, at, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
}

func persistentVolume(v *corev1.PersistentVolume) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &v.Spec
	errs = append(errs, accessModes(s.AccessModes, at.Child("accessModes"))...)
	if len(s.Capacity) == 0 {
		errs = append(errs, field.Required(at.Child("capacity"), ""))
	} else {
		errs = append(errs, storageSize(s.Capacity, at.Child("capacity"))...)
		for name := range s.Capacity {
			if name != corev1.ResourceStorage {
				errs = append(errs, field.NotSupported(at.Child("capacity"), name, []corev1.ResourceName{corev1.ResourceStorage}))
			}
		}
	}
	errs = append(errs, oneOf(s.PersistentVolumeReclaimPolicy, at.Child("persistentVolumeReclaimPolicy"),
		corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	errs = append(errs, persistentSource(s, at)...)
	if a := s.NodeAffinity; a != nil {
		errs = append(errs, volumeAffinity(a, at.Child("nodeAffinity"))...)
	}
	if s.StorageClassName != "" {
		errs = append(errs, subdomain(s.StorageClassName, at.Child("storageClassName"))...)
	}
	if n := s.VolumeAttributesClassName; n != nil {
		if *n == "" {
			errs = append(errs, field.Required(at.Child("volumeAttributesClassName"), "an empty string is disallowed"))
		} else {
			errs = append(errs, subdomain(*n, at.Child("volumeAttributesClassName"))...)
		}
		if s.CSI == nil {
			errs = append(errs, field.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName"))
		}
	}
	return append(errs, volumeMode(s.VolumeMode, at.Child("volumeMode"))...)
}

func volumeAffinity(a *corev1.VolumeNodeAffinity, at *field.Path) (errs field.ErrorList) {
	if a.Required == nil {
		return field.ErrorList{field.Required(at.Child("required"), "must specify required node constraints")}
	}
	return nodeSelector(a.Required, at.Child("required"))
}

func nodeSelector(s *corev1.NodeSelector, at *field.Path) (errs field.ErrorList) {
	if len(s.NodeSelectorTerms) == 0 {
		errs = append(errs, field.Required(at.Child("nodeSelectorTerms"), "must have at least one node selector term"))
	}
	for i := range s.NodeSelectorTerms {
		errs = append(errs, nodeTerm(&s.NodeSelectorTerms[i], at.Child("nodeSelectorTerms").Index(i))...)
	}
	return errs
}

// persistentSource checks the one source that a volume has.
func persistentSource(s *corev1.PersistentVolumeSpec, at *field.Path) (errs field.ErrorList) {
	src := &s.PersistentVolumeSource
	switch n := members(src); {
	case n == 0:
		return field.ErrorList{field.Required(at, "must specify a volume type")}
	case n > 1:
		errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type"))
	}
	if h := src.HostPath; h != nil {
		errs = append(errs, volumePath(h.Path, at.Child("hostPath", "path"))...)
		if path.Clean(h.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
			errs = append(errs, field.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
		}
	}
	if l := src.Local; l != nil {
		errs = append(errs, volumePath(l.Path, at.Child("local", "path"))...)
		if s.NodeAffinity == nil {
			errs = append(errs, field.Required(at.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
	}
	if n := src.NFS; n != nil {
		errs = append(errs, required(n.Server, at.Child("nfs", "server"))...)
		errs = append(errs, required(n.Path, at.Child("nfs", "path"))...)
		if n.Path != "" && !path.IsAbs(n.Path) {
			errs = append(errs, field.Invalid(at.Child("nfs", "path"), n.Path, "must be an absolute path"))
		}
	}
	if c := src.CSI; c != nil {
		errs = append(errs, driverName(c.Driver, at.Child("csi", "driver"))...)
		errs = append(errs, required(c.VolumeHandle, at.Child("csi", "volumeHandle"))...)
		for i, ref := range []*corev1.SecretReference{c.ControllerPublishSecretRef, c.NodeStageSecretRef, c.NodePublishSecretRef, c.ControllerExpandSecretRef, c.NodeExpandSecretRef} {
			if ref == nil {
				continue
			}
			p := at.Child("csi", []string{"controllerPublishSecretRef", "nodeStageSecretRef", "nodePublishSecretRef", "controllerExpandSecretRef", "nodeExpandSecretRef"}[i])
			errs = append(errs, required(ref.Name, p.Child("name"))...)
			errs = append(errs, required(ref.Namespace, p.Child("namespace"))...)
		}
	}
	return errs
}

// members counts the pointers of a union that are set.
func members[T any](union *T) (n int) {
	v := reflect.ValueOf(union).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			n++
		}
	}
	return n
}

func volumePath(p string, at *field.Path) field.ErrorList {
	if p == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return noBackstep(p, at)
}

func persistentVolumeUpdate(next, old *corev1.PersistentVolume, at *field.Path) field.ErrorList {
	errs := fixed(next.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource, at.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation")
	errs = append(errs, apivalidation.ValidateImmutableField(next.Spec.VolumeMode, old.Spec.VolumeMode, at.Child("volumeMode"))...)
	if old.Spec.NodeAffinity != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(next.Spec.NodeAffinity, old.Spec.NodeAffinity, at.Child("nodeAffinity"))...)
	}
	return errs
}

// claimSpec checks what a claim asks for, on its own or in a template.
func claimSpec(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	errs := accessModes(s.AccessModes, at.Child("accessModes"))
	if s.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	}
	errs = append(errs, storageSize(s.Resources.Requests, at.Child("resources", "requests"))...)
	if limit, ok := s.Resources.Limits[corev1.ResourceStorage]; ok {
		if q := s.Resources.Requests[corev1.ResourceStorage]; limit.Cmp(q) < 0 {
			errs = append(errs, field.Invalid(at.Child("resources", "requests"), quantity(q), "must be less than or equal to storage limit of "+quantity(limit)))
		}
	}
	if s.VolumeName != "" {
		errs = append(errs, subdomain(s.VolumeName, at.Child("volumeName"))...)
	}
	if n := s.StorageClassName; n != nil && *n != "" {
		errs = append(errs, subdomain(*n, at.Child("storageClassName"))...)
	}
	if n := s.VolumeAttributesClassName; n != nil && *n != "" {
		errs = append(errs, subdomain(*n, at.Child("volumeAttributesClassName"))...)
	}
	if d := s.DataSource; d != nil {
		errs = append(errs, dataSource(d.APIGroup, d.Kind, d.Name, at.Child("dataSource"))...)
	}
	if d := s.DataSourceRef; d != nil {
		errs = append(errs, dataSource(d.APIGroup, d.Kind, d.Name, at.Child("dataSourceRef"))...)
	}
	return append(errs, volumeMode(s.VolumeMode, at.Child("volumeMode"))...)
}

func dataSource(group *string, kind, name string, at *field.Path) field.ErrorList {
	errs := append(required(name, at.Child("name")), required(kind, at.Child("kind"))...)
	if (group == nil || *group == "") && kind != "" && kind != "PersistentVolumeClaim" {
		errs = append(errs, field.Invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
	}
	return errs
}

// claimUpdate lets a bound claim grow, and a claim without a volume get one.
func claimUpdate(next, old *corev1.PersistentVolumeClaim, at *field.Path) (errs field.ErrorList) {
	same := next.Spec.DeepCopy()
	if old.Spec.VolumeName == "" {
		same.VolumeName = ""
	}
	if old.Spec.StorageClassName == nil && next.Spec.StorageClassName != nil && old.Status.Phase != corev1.ClaimBound {
		same.StorageClassName = nil // a class that came later (Kubernetes, "Retroactive default StorageClass assignment")
	}
	was, size := old.Spec.Resources.Requests[corev1.ResourceStorage], next.Spec.Resources.Requests[corev1.ResourceStorage]
	bound := old.Status.Phase == corev1.ClaimBound
	if bound {
		same.Resources.Requests = old.Spec.Resources.Requests
		same.VolumeAttributesClassName = old.Spec.VolumeAttributesClassName
	}
	if !equality.Semantic.DeepEqual(same, &old.Spec) {
		return field.ErrorList{field.Forbidden(at, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")}
	}
	if have := old.Status.Capacity[corev1.ResourceStorage]; bound && size.Cmp(was) < 0 && size.Cmp(have) <= 0 {
		errs = append(errs, field.Forbidden(at.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	return errs
}

// The limits of a class's parameters (API reference, StorageClass.parameters).
const (
	parametersMax     = 512
	parametersSizeMax = 256 << 10
)

func parameters(m map[string]string, at *field.Path) (errs field.ErrorList) {
	if len(m) > parametersMax {
		return field.ErrorList{field.TooLong(at, "", parametersMax)}
	}
	size := 0
	for k, v := range m {
		if k == "" {
			errs = append(errs, field.Invalid(at, k, "field can not be empty."))
		}
		size += len(k) + len(v)
	}
	if size > parametersSizeMax {
		errs = append(errs, field.TooLong(at, "", parametersSizeMax))
	}
	return errs
}

func storageClass(c *storagev1.StorageClass) field.ErrorList {
	at := field.NewPath("provisioner")
	errs := required(c.Provisioner, at)
	if c.Provisioner != "" {
		for _, msg := range validation.IsQualifiedName(strings.ToLower(c.Provisioner)) {
			errs = append(errs, field.Invalid(at, c.Provisioner, msg))
		}
	}
	errs = append(errs, parameters(c.Parameters, field.NewPath("parameters"))...)
	if p := c.ReclaimPolicy; p != nil {
		errs = append(errs, oneOf(*p, field.NewPath("reclaimPolicy"), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	}
	if m := c.VolumeBindingMode; m == nil {
		errs = append(errs, field.Required(field.NewPath("volumeBindingMode"), ""))
	} else {
		errs = append(errs, oneOf(*m, field.NewPath("volumeBindingMode"), storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	}
	for i := range c.AllowedTopologies {
		at := field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions")
		for j, e := range c.AllowedTopologies[i].MatchLabelExpressions {
			for _, msg := range validation.IsQualifiedName(e.Key) {
				errs = append(errs, field.Invalid(at.Index(j).Child("key"), e.Key, msg))
			}
			if len(e.Values) == 0 {
				errs = append(errs, field.Required(at.Index(j).Child("values"), ""))
			}
		}
	}
	return errs
}

func volumeAttributesClass(c *storagev1.VolumeAttributesClass) field.ErrorList {
	errs := driverName(c.DriverName, field.NewPath("driverName"))
	if len(c.Parameters) == 0 {
		errs = append(errs, field.Required(field.NewPath("parameters"), "must contain at least one key/value pair"))
	}
	return append(errs, parameters(c.Parameters, field.NewPath("parameters"))...)
}
