package credential

import (
	"crypto/x509"
	"strings"
	"testing"
)

// TestKeys makes a key of each type that a volume may ask for.
func TestKeys(t *testing.T) {
	for _, typ := range []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"} {
		k, err := newKey(typ)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		csr, err := x509.ParseCertificateRequest(k.request)
		if err != nil || csr.CheckSignature() != nil || !strings.HasPrefix(string(k.key), "-----BEGIN PRIVATE KEY-----") {
			t.Errorf("%s: %v", typ, err)
		}
	}
	if _, err := newKey("DSA"); err == nil || !strings.Contains(err.Error(), "keyType") {
		t.Errorf("an unknown type: %v", err)
	}
}
