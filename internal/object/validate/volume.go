package validate

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/validate/trust"
)

// volumes checks the volumes of a pod and returns their names.
func volumes(list []corev1.Volume, at *field.Path) (map[string]bool, field.ErrorList) {
	names := map[string]bool{}
	var errs field.ErrorList
	for i := range list {
		v, p := &list[i], at.Index(i)
		for _, msg := range validation.IsDNS1123Label(v.Name) {
			errs = append(errs, field.Invalid(p.Child("name"), v.Name, msg))
		}
		if names[v.Name] {
			errs = append(errs, field.Duplicate(p.Child("name"), v.Name))
		}
		names[v.Name] = true
		if members(&v.VolumeSource) > 1 {
			errs = append(errs, field.Forbidden(p, "may not specify more than 1 volume type"))
		}
		errs = append(errs, volumeSource(&v.VolumeSource, p)...)
	}
	return names, errs
}

func volumeSource(v *corev1.VolumeSource, at *field.Path) (errs field.ErrorList) {
	switch {
	case v.HostPath != nil:
		p := at.Child("hostPath", "path")
		if !path.IsAbs(v.HostPath.Path) {
			errs = append(errs, field.Invalid(p, v.HostPath.Path, "must be an absolute path"))
		}
		errs = append(errs, noBackstep(v.HostPath.Path, p)...)
	case v.ConfigMap != nil:
		p := at.Child("configMap")
		errs = append(errs, required(v.ConfigMap.Name, p.Child("name"))...)
		errs = append(errs, mode(v.ConfigMap.DefaultMode, p.Child("defaultMode"))...)
		errs = append(errs, keyPaths(v.ConfigMap.Items, p.Child("items"))...)
	case v.Secret != nil:
		p := at.Child("secret")
		errs = append(errs, required(v.Secret.SecretName, p.Child("secretName"))...)
		errs = append(errs, mode(v.Secret.DefaultMode, p.Child("defaultMode"))...)
		errs = append(errs, keyPaths(v.Secret.Items, p.Child("items"))...)
	case v.DownwardAPI != nil:
		p := at.Child("downwardAPI")
		errs = append(errs, mode(v.DownwardAPI.DefaultMode, p.Child("defaultMode"))...)
		errs = append(errs, downward(v.DownwardAPI.Items, p.Child("items"))...)
	case v.Projected != nil:
		errs = append(errs, mode(v.Projected.DefaultMode, at.Child("projected", "defaultMode"))...)
		for i := range v.Projected.Sources {
			errs = append(errs, projection(&v.Projected.Sources[i], at.Child("projected", "sources").Index(i))...)
		}
	case v.PersistentVolumeClaim != nil:
		errs = append(errs, required(v.PersistentVolumeClaim.ClaimName, at.Child("persistentVolumeClaim", "claimName"))...)
	case v.Ephemeral != nil:
		p := at.Child("ephemeral", "volumeClaimTemplate")
		if v.Ephemeral.VolumeClaimTemplate == nil {
			return append(errs, field.Required(p, ""))
		}
		errs = append(errs, claimSpec(&v.Ephemeral.VolumeClaimTemplate.Spec, p.Child("spec"))...)
	case v.Image != nil:
		errs = append(errs, required(v.Image.Reference, at.Child("image", "reference"))...)
		errs = append(errs, oneOf(v.Image.PullPolicy, at.Child("image", "pullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	case v.CSI != nil:
		errs = append(errs, driverName(v.CSI.Driver, at.Child("csi", "driver"))...)
	case v.NFS != nil:
		errs = append(errs, required(v.NFS.Server, at.Child("nfs", "server"))...)
		errs = append(errs, required(v.NFS.Path, at.Child("nfs", "path"))...)
	case v.EmptyDir != nil && v.EmptyDir.SizeLimit != nil && v.EmptyDir.SizeLimit.Sign() < 0:
		errs = append(errs, field.Invalid(at.Child("emptyDir", "sizeLimit"), v.EmptyDir.SizeLimit.String(), "must be greater than or equal to 0"))
	}
	return errs
}

func projection(s *corev1.VolumeProjection, at *field.Path) (errs field.ErrorList) {
	switch {
	case s.Secret != nil:
		errs = append(errs, required(s.Secret.Name, at.Child("secret", "name"))...)
		errs = append(errs, keyPaths(s.Secret.Items, at.Child("secret", "items"))...)
	case s.ConfigMap != nil:
		errs = append(errs, required(s.ConfigMap.Name, at.Child("configMap", "name"))...)
		errs = append(errs, keyPaths(s.ConfigMap.Items, at.Child("configMap", "items"))...)
	case s.DownwardAPI != nil:
		errs = append(errs, downward(s.DownwardAPI.Items, at.Child("downwardAPI", "items"))...)
	case s.ServiceAccountToken != nil:
		p := at.Child("serviceAccountToken")
		errs = append(errs, inside(s.ServiceAccountToken.Path, p.Child("path"))...)
		if n := s.ServiceAccountToken.ExpirationSeconds; n != nil && *n < 600 {
			errs = append(errs, field.Invalid(p.Child("expirationSeconds"), *n, "may not specify a duration less than 10 minutes"))
		}
	case s.ClusterTrustBundle != nil:
		errs = append(errs, inside(s.ClusterTrustBundle.Path, at.Child("clusterTrustBundle", "path"))...)
		errs = append(errs, trust.Projection(s.ClusterTrustBundle, at.Child("clusterTrustBundle"))...)
	case s.PodCertificate != nil:
		errs = append(errs, certificateSource(s.PodCertificate, at.Child("podCertificate"))...)
	}
	return errs
}

// certificateSource checks what a volume asks a signer for, and where it goes.
func certificateSource(s *corev1.PodCertificateProjection, at *field.Path) field.ErrorList {
	errs := trust.CertificateProjection(s, at)
	paths := map[string]bool{}
	for _, p := range []struct{ name, path string }{
		{"credentialBundlePath", s.CredentialBundlePath}, {"keyPath", s.KeyPath}, {"certificateChainPath", s.CertificateChainPath},
	} {
		if p.path == "" {
			continue
		}
		errs = append(errs, inside(p.path, at.Child(p.name))...)
		if paths[p.path] {
			errs = append(errs, field.Invalid(at.Child(p.name), p.path, "conflicting duplicate paths"))
		}
		paths[p.path] = true
	}
	if len(paths) == 0 {
		errs = append(errs, field.Required(at, "specify at least one of credentialBundlePath, keyPath and certificateChainPath"))
	}
	return errs
}

func downward(items []corev1.DownwardAPIVolumeFile, at *field.Path) (errs field.ErrorList) {
	for i, f := range items {
		errs = append(errs, inside(f.Path, at.Index(i).Child("path"))...)
		errs = append(errs, mode(f.Mode, at.Index(i).Child("mode"))...)
		if (f.FieldRef == nil) == (f.ResourceFieldRef == nil) {
			errs = append(errs, field.Required(at.Index(i), "exactly one of fieldRef and resourceFieldRef"))
		}
	}
	return errs
}

func keyPaths(items []corev1.KeyToPath, at *field.Path) (errs field.ErrorList) {
	for i, it := range items {
		errs = append(errs, required(it.Key, at.Index(i).Child("key"))...)
		errs = append(errs, inside(it.Path, at.Index(i).Child("path"))...)
		errs = append(errs, mode(it.Mode, at.Index(i).Child("mode"))...)
	}
	return errs
}

func mode(m *int32, at *field.Path) field.ErrorList {
	if m != nil && (*m < 0 || *m > 0o777) {
		return field.ErrorList{field.Invalid(at, *m, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

func required(s string, at *field.Path) field.ErrorList {
	if s == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return nil
}

// inside checks that a path cannot leave the folder it is relative to.
func inside(p string, at *field.Path) field.ErrorList {
	switch {
	case p == "":
		return field.ErrorList{field.Required(at, "")}
	case path.IsAbs(p):
		return field.ErrorList{field.Invalid(at, p, "must be a relative path")}
	}
	return noBackstep(p, at)
}

// noBackstep refuses `..` as a part of a path.
func noBackstep(p string, at *field.Path) field.ErrorList {
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return field.ErrorList{field.Invalid(at, p, "must not contain '..'")}
		}
	}
	return nil
}

// devices checks what of a container's volumes it has as block devices.
func devices(c *corev1.Container, volumes map[string]bool, at *field.Path) (errs field.ErrorList) {
	paths, names := map[string]bool{}, map[string]bool{}
	for _, m := range c.VolumeMounts {
		paths[m.MountPath], names[m.Name] = true, true
	}
	for i, d := range c.VolumeDevices {
		p := at.Index(i)
		switch {
		case !volumes[d.Name]:
			errs = append(errs, field.NotFound(p.Child("name"), d.Name))
		case names[d.Name]:
			errs = append(errs, field.Invalid(p.Child("name"), d.Name, "must be unique, and not in volumeMounts too"))
		}
		names[d.Name] = true
		switch {
		case d.DevicePath == "":
			errs = append(errs, field.Required(p.Child("devicePath"), ""))
		case paths[d.DevicePath]:
			errs = append(errs, field.Invalid(p.Child("devicePath"), d.DevicePath, "must be unique, and not in volumeMounts too"))
		case slices.Contains(strings.Split(d.DevicePath, "/"), ".."):
			errs = append(errs, field.Invalid(p.Child("devicePath"), d.DevicePath, "must not contain '..'"))
		}
		paths[d.DevicePath] = true
	}
	return errs
}

func mounts(list []corev1.VolumeMount, volumes map[string]bool, at *field.Path) (errs field.ErrorList) {
	paths := map[string]bool{}
	for i, m := range list {
		p := at.Index(i)
		if !volumes[m.Name] {
			errs = append(errs, field.NotFound(p.Child("name"), m.Name))
		}
		errs = append(errs, required(m.MountPath, p.Child("mountPath"))...)
		if paths[m.MountPath] {
			errs = append(errs, field.Invalid(p.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths[m.MountPath] = true
		if m.SubPath != "" {
			errs = append(errs, inside(m.SubPath, p.Child("subPath"))...)
		}
		if m.SubPathExpr != "" {
			errs = append(errs, inside(m.SubPathExpr, p.Child("subPathExpr"))...)
			if m.SubPath != "" {
				errs = append(errs, field.Invalid(p.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
			}
		}
	}
	return errs
}
