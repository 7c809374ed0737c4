// Package trust checks the kinds that hold what parts of a cluster trust each
// other by (bundles of authorities, certificates that pods ask for), and the
// migration of stored objects, by the rules of the API reference. It is a part
// of package validate, which calls it, and follows the same promises: pure, every
// fault with the path of its field.
package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits of certificates that pods ask for (API reference, PodCertificateRequest).
const (
	certSecondsMin           = 3600
	certSecondsMax           = 91 * 24 * 3600
	certSecondsKubernetesMax = 24 * 3600
	uidMax                   = 128
	trustBundleMax           = 1 << 20
	stubRequestMax           = 10 << 10
	certChainMax             = 100 << 10
)

// Object checks a new object; known says whether it is of a kind of this package.
func Object(o runtime.Object) (errs field.ErrorList, known bool) {
	switch o := o.(type) {
	case *certificatesv1.ClusterTrustBundle:
		return append(trustBundle(o), trustAnchors(o.Spec.TrustBundle, field.NewPath("spec", "trustBundle"))...), true
	case *certificatesv1.PodCertificateRequest:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), podCertificate(&o.Spec, field.NewPath("spec"))...), true
	case *storagemigrationv1.StorageVersionMigration:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), migration(o.Spec.Resource, field.NewPath("spec", "resource"))...), true
	}
	return nil, false
}

// Update checks what may not change of these kinds.
func Update(next, old runtime.Object) field.ErrorList {
	spec := field.NewPath("spec")
	switch next := next.(type) {
	case *certificatesv1.ClusterTrustBundle:
		return apivalidation.ValidateImmutableField(next.Spec.SignerName, old.(*certificatesv1.ClusterTrustBundle).Spec.SignerName, spec.Child("signerName"))
	case *certificatesv1.PodCertificateRequest:
		return apivalidation.ValidateImmutableField(next.Spec, old.(*certificatesv1.PodCertificateRequest).Spec, spec)
	case *storagemigrationv1.StorageVersionMigration:
		return apivalidation.ValidateImmutableField(next.Spec, old.(*storagemigrationv1.StorageVersionMigration).Spec, spec)
	}
	return nil
}

func meta(o metav1.Object, namespaced bool, name apivalidation.ValidateNameFunc) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessor(o, namespaced, name, field.NewPath("metadata"))
}

// trustBundle checks the name: a signer's bundles are named after it.
func trustBundle(o *certificatesv1.ClusterTrustBundle) field.ErrorList {
	signer, prefix := o.Spec.SignerName, ""
	if signer != "" {
		prefix = strings.ReplaceAll(signer, "/", ":") + ":"
	}
	errs := meta(o, false, func(name string, generated bool) []string {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, prefix)}
		}
		return apivalidation.NameIsDNSSubdomain(rest, generated)
	})
	if signer != "" {
		errs = append(errs, signerName(signer, field.NewPath("spec", "signerName"))...)
	}
	return errs
}

// Projection checks which bundles a volume asks for: one by name, or a signer's.
func Projection(s *corev1.ClusterTrustBundleProjection, path *field.Path) (errs field.ErrorList) {
	named, signed := s.Name != nil && *s.Name != "", s.SignerName != nil && *s.SignerName != ""
	switch {
	case named && signed:
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, "only one of name and signerName may be used")}
	case named && s.LabelSelector != nil:
		errs = append(errs, field.Invalid(path.Child("labelSelector"), field.OmitValueType{}, "must be unset if name is specified"))
	case signed:
		errs = append(errs, signerName(*s.SignerName, path.Child("signerName"))...)
	case !named:
		return field.ErrorList{field.Required(path, "either name or signerName must be specified")}
	}
	return append(errs, metavalidation.ValidateLabelSelector(s.LabelSelector, metavalidation.LabelSelectorValidationOptions{}, path.Child("labelSelector"))...)
}

// CertificateProjection checks what certificate a volume asks for.
func CertificateProjection(s *corev1.PodCertificateProjection, path *field.Path) field.ErrorList {
	errs := signerName(s.SignerName, path.Child("signerName"))
	keyTypes := []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}
	if !slices.Contains(keyTypes, s.KeyType) {
		errs = append(errs, field.NotSupported(path.Child("keyType"), s.KeyType, keyTypes))
	}
	if n := s.MaxExpirationSeconds; n != nil {
		at := path.Child("maxExpirationSeconds")
		switch most := certSecondsMost(s.SignerName); {
		case *n < certSecondsMin:
			errs = append(errs, field.Invalid(at, *n, fmt.Sprintf("if provided, maxExpirationSeconds must be >= %d", certSecondsMin)))
		case *n > most:
			errs = append(errs, field.Invalid(at, *n, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", most)))
		}
	}
	return append(errs, userAnnotations(s.UserAnnotations, path.Child("userAnnotations"))...)
}

// certSecondsMost returns how long a certificate of the signer may be good.
func certSecondsMost(signer string) int32 {
	if domain, _, _ := strings.Cut(signer, "/"); domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") {
		return certSecondsKubernetesMax
	}
	return certSecondsMax
}

func userAnnotations(all map[string]string, path *field.Path) field.ErrorList {
	errs := apivalidation.ValidateAnnotations(all, path)
	for k := range all {
		if !strings.Contains(k, "/") {
			errs = append(errs, field.Invalid(path.Key(k), k, "must have a domain prefix"))
		}
	}
	return errs
}

// signerName checks a name of the form DOMAIN/PATH.
func signerName(name string, path *field.Path) (errs field.ErrorList) {
	domain, rest, ok := strings.Cut(name, "/")
	switch {
	case name == "":
		return field.ErrorList{field.Required(path, "")}
	case !ok || rest == "":
		return field.ErrorList{field.Invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	case len(name) > 571: // a domain of 253, a slash, a namespace of 63, a dot, a name of 253
		return field.ErrorList{field.TooLong(path, name, 571)}
	}
	for _, msg := range validation.IsDNS1123Subdomain(domain) {
		errs = append(errs, field.Invalid(path, domain, "validating signer domain: "+msg))
	}
	if !strings.Contains(domain, ".") {
		errs = append(errs, field.Invalid(path, domain, "should be a domain with at least two segments separated by dots"))
	}
	for _, part := range strings.Split(rest, ".") {
		for _, msg := range validation.IsDNS1123Subdomain(part) {
			errs = append(errs, field.Invalid(path, rest, "validating label: "+msg))
		}
	}
	return errs
}

// trustAnchors checks a PEM bundle of authorities' certificates.
func trustAnchors(bundle string, path *field.Path) (errs field.ErrorList) {
	if len(bundle) > trustBundleMax {
		return field.ErrorList{field.TooLong(path, "", trustBundleMax)}
	}
	fault := func(i int, what string) {
		errs = append(errs, field.Invalid(path, "<value omitted>", fmt.Sprintf("entry %d %s", i, what)))
	}
	var seen [][]byte
	block, rest := pem.Decode([]byte(bundle))
	for i := 0; block != nil; i++ {
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case block.Type != "CERTIFICATE":
			fault(i, "has bad block type: "+block.Type)
		case len(block.Headers) != 0:
			fault(i, "has PEM block headers")
		case err != nil:
			fault(i, "does not parse as X.509")
		case !cert.IsCA || !cert.BasicConstraintsValid:
			fault(i, "does not have the CA bit set")
		}
		for _, s := range seen {
			if bytes.Equal(s, block.Bytes) {
				fault(i, "is a duplicate trust anchor")
			}
		}
		seen = append(seen, block.Bytes)
		block, rest = pem.Decode(rest)
	}
	if len(seen) == 0 {
		errs = append(errs, field.Invalid(path, "<value omitted>", "at least one trust anchor must be provided"))
	}
	return errs
}

func podCertificate(s *certificatesv1.PodCertificateRequestSpec, path *field.Path) field.ErrorList {
	errs := signerName(s.SignerName, path.Child("signerName"))
	name := func(child, name string, valid apivalidation.ValidateNameFunc) {
		for _, msg := range valid(name, false) {
			errs = append(errs, field.Invalid(path.Child(child), name, msg))
		}
	}
	uid := func(child string, uid types.UID) {
		switch {
		case uid == "":
			errs = append(errs, field.Invalid(path.Child(child), uid, "must not be empty"))
		case len(uid) > uidMax:
			errs = append(errs, field.TooLong(path.Child(child), uid, uidMax))
		}
	}
	name("podName", s.PodName, apivalidation.NameIsDNSSubdomain)
	uid("podUID", s.PodUID)
	name("serviceAccountName", s.ServiceAccountName, apivalidation.ValidateServiceAccountName)
	uid("serviceAccountUID", s.ServiceAccountUID)
	name("nodeName", string(s.NodeName), apivalidation.NameIsDNSSubdomain)
	uid("nodeUID", s.NodeUID)
	most := certSecondsMost(s.SignerName)
	if n := s.MaxExpirationSeconds; n == nil {
		errs = append(errs, field.Required(path.Child("maxExpirationSeconds"), "must be set"))
	} else if *n < certSecondsMin || *n > most {
		errs = append(errs, field.Invalid(path.Child("maxExpirationSeconds"), *n, fmt.Sprintf("must be in the range [%d, %d]", certSecondsMin, most)))
	}
	errs = append(errs, userAnnotations(s.UnverifiedUserAnnotations, path.Child("unverifiedUserAnnotations"))...)
	return append(errs, stubRequest(s.StubPKCS10Request, path.Child("stubPKCS10Request"))...)
}

// stubRequest checks that the asker has a key of a kind that is taken.
func stubRequest(der []byte, path *field.Path) field.ErrorList {
	invalid := func(msg string) field.ErrorList {
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, msg)}
	}
	if len(der) > stubRequestMax {
		return field.ErrorList{field.TooLong(path, "", stubRequestMax)}
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return invalid("must be a valid PKCS#10 CSR")
	}
	switch key := req.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return invalid("elliptic public keys must use curve P256, P384, or P521")
		}
	case *rsa.PublicKey:
		if bits := key.Size() * 8; bits != 3072 && bits != 4096 {
			return invalid("RSA keys must have modulus size 3072 or 4096")
		}
	default:
		return invalid("unknown public key type; supported types are Ed25519, ECDSA, and RSA")
	}
	if req.CheckSignature() != nil {
		return invalid("invalid signature")
	}
	return nil
}

func migration(r metav1.GroupResource, path *field.Path) (errs field.ErrorList) {
	if r.Resource == "" {
		errs = append(errs, field.Required(path.Child("resource"), "resource is required to be set"))
	} else {
		for _, msg := range validation.IsDNS1035Label(r.Resource) {
			errs = append(errs, field.Invalid(path.Child("resource"), r.Resource, msg))
		}
	}
	if r.Group != "" {
		for _, msg := range validation.IsDNS1123Subdomain(r.Group) {
			errs = append(errs, field.Invalid(path.Child("group"), r.Group, msg))
		}
	}
	return errs
}

// Status checks the status of these kinds.
func Status(o runtime.Object) field.ErrorList {
	path := field.NewPath("status")
	switch o := o.(type) {
	case *certificatesv1.PodCertificateRequest:
		return issued(o, path)
	case *storagemigrationv1.StorageVersionMigration:
		errs := metavalidation.ValidateConditions(o.Status.Conditions, path.Child("conditions"))
		done := 0
		for _, c := range o.Status.Conditions {
			t := storagemigrationv1.MigrationConditionType(c.Type)
			if c.Status == metav1.ConditionTrue && (t == storagemigrationv1.MigrationSucceeded || t == storagemigrationv1.MigrationFailed) {
				done++
			}
		}
		if done > 1 {
			errs = append(errs, field.Invalid(path.Child("conditions"), o.Status.Conditions, "Both success and failed conditions cannot be true at the same time"))
		}
		return errs
	}
	return nil
}

// issued checks what a signer answers to a pod's request.
func issued(o *certificatesv1.PodCertificateRequest, path *field.Path) field.ErrorList {
	s := &o.Status
	errs := metavalidation.ValidateConditions(s.Conditions, path.Child("conditions"))
	known := []string{certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed}
	got := ""
	for i, c := range s.Conditions {
		at := path.Child("conditions").Index(i)
		switch {
		case c.Type != known[0] && c.Type != known[1] && c.Type != known[2]:
			errs = append(errs, field.NotSupported(at.Child("type"), c.Type, known))
		case got != "":
			errs = append(errs, field.Invalid(at.Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`))
		case c.Status != metav1.ConditionTrue:
			errs = append(errs, field.NotSupported(at.Child("status"), c.Status, []metav1.ConditionStatus{metav1.ConditionTrue}))
		}
		got = c.Type
	}
	if len(errs) > 0 || got == "" {
		return errs
	}
	if got != known[0] {
		if s.CertificateChain != "" || s.NotBefore != nil || s.NotAfter != nil || s.BeginRefreshAt != nil {
			errs = append(errs, field.Invalid(path, field.OmitValueType{}, "non-condition status fields must be empty when denying or failing the PodCertificateRequest"))
		}
		return errs
	}
	return certChain(o, path)
}

// certChain checks that the chain's first certificate is for the asker's key and
// lasts as the status says.
func certChain(o *certificatesv1.PodCertificateRequest, path *field.Path) (errs field.ErrorList) {
	s, at := &o.Status, path.Child("certificateChain")
	if len(s.CertificateChain) > certChainMax {
		return field.ErrorList{field.TooLong(at, "", certChainMax)}
	}
	var leaf *x509.Certificate
	for block, rest := pem.Decode([]byte(s.CertificateChain)); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return field.ErrorList{field.Invalid(at, s.CertificateChain, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks that parse as X.509")}
		}
		if leaf == nil {
			leaf = cert
		}
	}
	if leaf == nil {
		return field.ErrorList{field.Invalid(at, s.CertificateChain, "issued certificate chain must contain at least one certificate")}
	}
	if req, err := x509.ParseCertificateRequest(o.Spec.StubPKCS10Request); err == nil {
		if key, ok := req.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && !key.Equal(leaf.PublicKey) {
			errs = append(errs, field.Invalid(at, s.CertificateChain, "leaf certificate was not issued to the requested public key"))
		}
	}
	if s.NotBefore == nil || !s.NotBefore.Time.Equal(leaf.NotBefore) {
		errs = append(errs, field.Invalid(path.Child("notBefore"), s.NotBefore, "must be set to the NotBefore time encoded in the leaf certificate"))
	}
	if s.NotAfter == nil || !s.NotAfter.Time.Equal(leaf.NotAfter) {
		errs = append(errs, field.Invalid(path.Child("notAfter"), s.NotAfter, "must be set to the NotAfter time encoded in the leaf certificate"))
	}
	if b := s.BeginRefreshAt; b == nil || b.Time.Before(leaf.NotBefore) || b.Time.After(leaf.NotAfter) {
		errs = append(errs, field.Invalid(path.Child("beginRefreshAt"), b, "must be present and between notBefore and notAfter"))
	}
	return errs
}
