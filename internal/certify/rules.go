package certify

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"

	"trireme/internal/access"
)

// signer is what one signer signs.
type signer struct {
	node     bool // the subject must be a node's
	required certificatesv1.KeyUsage
	names    bool // the request must name hosts; else it must not, where node is set
}

// signers are ours, by name (Kubernetes, "Kubernetes signers").
var signers = map[string]signer{
	certificatesv1.KubeAPIServerClientSignerName:        {required: certificatesv1.UsageClientAuth},
	certificatesv1.KubeAPIServerClientKubeletSignerName: {node: true, required: certificatesv1.UsageClientAuth},
	certificatesv1.KubeletServingSignerName:             {node: true, required: certificatesv1.UsageServerAuth, names: true},
}

// check returns why the request is not one that the signer signs.
func (s signer) check(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if !slices.Contains(usages, s.required) {
		return fmt.Errorf("usages must include %q", s.required)
	}
	for _, u := range usages {
		if u != s.required && u != certificatesv1.UsageDigitalSignature && u != certificatesv1.UsageKeyEncipherment {
			return fmt.Errorf("usage %q is not signed: %q, %q and %q are", u, s.required, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment)
		}
	}
	if slices.Contains(r.Subject.Organization, access.Masters) {
		return fmt.Errorf("organization %s cannot be asked for", access.Masters)
	}
	if !s.node {
		return nil
	}
	if !slices.Equal(r.Subject.Organization, []string{access.Nodes}) {
		return fmt.Errorf("organization must be %s alone", access.Nodes)
	}
	if name, ok := strings.CutPrefix(r.Subject.CommonName, access.NodePrefix); !ok || name == "" {
		return fmt.Errorf("common name must be %sNAME", access.NodePrefix)
	}
	if len(r.EmailAddresses) > 0 || len(r.URIs) > 0 {
		return fmt.Errorf("email addresses and URIs are not signed for nodes")
	}
	hosts := len(r.DNSNames) + len(r.IPAddresses)
	switch {
	case s.names && hosts == 0:
		return fmt.Errorf("DNS or IP names must be asked for")
	case !s.names && hosts > 0:
		return fmt.Errorf("DNS and IP names are not signed for clients")
	}
	return nil
}

// approves returns why the request needs nobody's approval, empty where it does: a
// node's client certificate, asked for by who may ask for any, or by the node
// itself.
func (s *Signer) approves(r *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) string {
	name := certificatesv1.KubeAPIServerClientKubeletSignerName
	if r.Spec.SignerName != name || signers[name].check(request, r.Spec.Usages) != nil {
		return ""
	}
	may := func(subresource string) bool {
		ok, _ := s.cfg.Access.Allows(&access.Request{
			User: access.User{Name: r.Spec.Username, Groups: r.Spec.Groups},
			Verb: "create", APIGroup: certificatesv1.GroupName, Resource: "certificatesigningrequests", Subresource: subresource,
		})
		return ok
	}
	switch {
	case r.Spec.Username == request.Subject.CommonName && may("selfnodeclient"):
		return "Auto approving self kubelet client certificate after SubjectAccessReview."
	case may("nodeclient"):
		return "Auto approving kubelet client certificate after SubjectAccessReview."
	}
	return ""
}
