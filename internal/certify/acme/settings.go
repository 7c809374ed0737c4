package acme

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"trireme/internal/kind"
)

// Settings are what a manager is told of its ACME server.
type Settings struct {
	Directory string `json:"directory"` // its URL [Let's Encrypt's]
	// Contact is an address of mail that the server may write to [none].
	Contact string `json:"contact"`
	// CAFile holds, as PEM, who signs the server's own certificate, beside those that the
	// system trusts [nobody].
	CAFile string `json:"caFile"`
}

// Default returns the settings for Let's Encrypt.
func Default() Settings { return Settings{Directory: acme.LetsEncryptURL} }

// Validate returns what is wrong with the settings.
func (s Settings) Validate() error {
	u, err := url.Parse(s.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return invalid("directory", "--acme-directory %q is no URL https://HOST/PATH (RFC 8555 §6.1)", s.Directory)
	}
	if c := s.Contact; c != "" && (!strings.Contains(c, "@") || strings.ContainsAny(c, ":?, ")) {
		return invalid("contact", "--acme-contact %q is no address of mail: NAME@DOMAIN", c)
	}
	_, err = s.roots()
	return err
}

// contacts returns the contact as URLs.
func (s Settings) contacts() []string {
	if s.Contact == "" {
		return nil
	}
	return []string{"mailto:" + s.Contact}
}

// roots returns who may sign the server's certificate; nil: whom the system trusts.
func (s Settings) roots() (*x509.CertPool, error) {
	if s.CAFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, invalid("caFile", "--acme-ca-file: %v", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(b) {
		return nil, invalid("caFile", "--acme-ca-file %s holds no certificate as PEM", s.CAFile)
	}
	return pool, nil
}

// requestTime is how long a request to the server or to a node may take.
const requestTime = 30 * time.Second

// Client returns who talks to the server.
func (s Settings) Client() (*http.Client, error) {
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots}
	return &http.Client{Transport: t, Timeout: requestTime}, nil
}

func invalid(field, format string, args ...any) error {
	return &kind.Error{Kind: kind.Invalid, Field: "manager.acme." + field, Err: fmt.Errorf(format, args...)}
}
