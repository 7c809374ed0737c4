package trust

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// certificateUsages are the usages that may be asked for (API reference,
// KeyUsage).
var certificateUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment, certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign,
	certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly, certificatesv1.UsageAny, certificatesv1.UsageServerAuth,
	certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning, certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME,
	certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
	certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
}

// CertificateRequest returns the request that the PEM block holds.
func CertificateRequest(b []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("PEM block type must be CERTIFICATE REQUEST, and there must be one block")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	return r, r.CheckSignature()
}

// SigningRequest checks what a CertificateSigningRequest asks for.
func SigningRequest(r *certificatesv1.CertificateSigningRequest) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if len(r.Spec.Request) == 0 {
		errs = append(errs, field.Required(spec.Child("request"), ""))
	} else if _, err := CertificateRequest(r.Spec.Request); err != nil {
		errs = append(errs, field.Invalid(spec.Child("request"), "", fmt.Sprintf("cannot be read: %v", err)))
	}
	if len(r.Spec.Usages) == 0 {
		errs = append(errs, field.Required(spec.Child("usages"), "usages must be provided"))
	}
	for i, u := range r.Spec.Usages {
		at := spec.Child("usages").Index(i)
		switch {
		case u == "":
			errs = append(errs, field.Required(at, ""))
		case !slices.Contains(certificateUsages, u):
			errs = append(errs, field.NotSupported(at, u, certificateUsages))
		}
		if slices.Index(r.Spec.Usages, u) < i {
			errs = append(errs, field.Duplicate(at, u))
		}
	}
	if r.Spec.SignerName == "kubernetes.io/legacy-unknown" {
		errs = append(errs, field.Invalid(spec.Child("signerName"), r.Spec.SignerName, "may not be used: name the signer that is to sign"))
	} else {
		errs = append(errs, signerName(r.Spec.SignerName, spec.Child("signerName"))...)
	}
	if n := r.Spec.ExpirationSeconds; n != nil && *n < 600 {
		errs = append(errs, field.Invalid(spec.Child("expirationSeconds"), *n, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return errs
}

// SigningStatus checks what was decided of a request and what was issued.
func SigningStatus(r *certificatesv1.CertificateSigningRequest) (errs field.ErrorList) {
	status := field.NewPath("status")
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, c := range r.Status.Conditions {
		at := status.Child("conditions").Index(i)
		if c.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
		if seen[c.Type] {
			errs = append(errs, field.Duplicate(at.Child("type"), c.Type))
		}
		seen[c.Type] = true
		decides := c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed
		if decides && c.Status != "True" {
			errs = append(errs, field.NotSupported(at.Child("status"), c.Status, []string{"True"}))
		}
	}
	if seen[certificatesv1.CertificateApproved] && seen[certificatesv1.CertificateDenied] {
		errs = append(errs, field.Invalid(status.Child("conditions"), "Denied", "Approved and Denied conditions are mutually exclusive"))
	}
	if len(r.Status.Certificate) > 0 {
		if err := certificates(r.Status.Certificate); err != nil {
			errs = append(errs, field.Invalid(status.Child("certificate"), "", err.Error()))
		}
	}
	return errs
}

func certificates(b []byte) error {
	found := false
	for {
		var block *pem.Block
		block, b = pem.Decode(b)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return fmt.Errorf("only CERTIFICATE PEM blocks without headers are allowed, found %q", block.Type)
		}
		if _, err := x509.ParseCertificates(block.Bytes); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return fmt.Errorf("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

// SigningUpdate checks that a decision or a certificate that stands is not taken
// back.
func SigningUpdate(next, old *certificatesv1.CertificateSigningRequest) (errs field.ErrorList) {
	status := field.NewPath("status")
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		of := func(r *certificatesv1.CertificateSigningRequest) int {
			return slices.IndexFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool { return c.Type == t })
		}
		if of(old) >= 0 && of(next) < 0 {
			errs = append(errs, field.Forbidden(status.Child("conditions"), fmt.Sprintf("updates may not remove a condition of type %q", t)))
		}
	}
	if len(old.Status.Certificate) > 0 && !slices.Equal(old.Status.Certificate, next.Status.Certificate) {
		errs = append(errs, field.Forbidden(status.Child("certificate"), "updates may not change it once it is set"))
	}
	return errs
}
