package wire

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The organisations and names that certificates carry.
const (
	MastersGroup = "system:masters"
	NodesGroup   = "system:nodes"
	ManagerName  = "system:trireme:manager"
	NodePrefix   = "system:node:"
	AdminName    = "admin"
)

// How long certificates live. Leaf certificates are made anew at every start and
// when a third of their life is left.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
)

// PKI is the cluster's certificate authority on a manager.
type PKI struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// OpenPKI loads the authority in dir, making it where there is none.
func OpenPKI(dir string) (*PKI, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the certificate authority: %w", err)
	}
	p := &PKI{dir: dir}
	certPEM, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if errors.Is(err, fs.ErrNotExist) {
		return p, p.create()
	}
	if err != nil {
		return nil, fmt.Errorf("reading the certificate authority: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, fmt.Errorf("reading the certificate authority in %s: %w", dir, err)
	}
	block, _ := pem.Decode(certPEM)
	p.cert, err = x509.ParseCertificate(block.Bytes)
	p.key = pair.PrivateKey.(crypto.Signer)
	return p, err
}

func (p *PKI) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template(pkix.Name{CommonName: "trireme-ca"}, caLife)
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	p.key = key
	// The key first: a certificate without its key would stop the next start.
	if err := writeKey(filepath.Join(p.dir, "ca.key"), key); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "ca.crt"), p.CAPEM(), 0o644)
}

// AccountKey returns the key that signs the tokens of service accounts, making it
// at the first call of all.
func (p *PKI) AccountKey() (crypto.Signer, error) {
	path := filepath.Join(p.dir, "sa.key")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return key, writeKey(path, key)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of service accounts: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("reading %s: it holds no PEM block: remove it, and all tokens are made anew", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("reading %s: it holds no signing key", path)
	}
	return signer, nil
}

// CAPEM returns the authority's certificate.
func (p *PKI) CAPEM() []byte { return certPEM(p.cert.Raw) }

// Pool returns the authority as what others verify against.
func (p *PKI) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	return pool
}

// Digest returns the SHA-256 of the authority's certificate in hex: what a join
// token pins.
func (p *PKI) Digest() string { return Digest(p.cert) }

// Digest returns the SHA-256 of a certificate in hex.
func Digest(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Leaf is who a certificate is for, and under which names it serves.
type Leaf struct {
	Name, Group string
	Hosts       []string // DNS names and addresses
}

// Issue returns a new key and certificate for client and server use.
func (p *PKI) Issue(l Leaf) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := p.Sign(l, key.Public())
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der, p.cert.Raw}, PrivateKey: key, Leaf: leaf}, err
}

// Sign returns the DER of a certificate for somebody else's key.
func (p *PKI) Sign(l Leaf, key crypto.PublicKey) ([]byte, error) {
	t := template(pkix.Name{CommonName: l.Name, Organization: []string{l.Group}}, leafLife)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for _, h := range l.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, p.cert, key, p.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for %s: %w", l.Name, err)
	}
	return der, nil
}

// Certify signs the certificate that t describes, for somebody else's key. It gives
// it a serial number, lets it begin now and end no later than the authority.
func (p *PKI) Certify(t *x509.Certificate, key crypto.PublicKey) ([]byte, error) {
	base := template(t.Subject, time.Until(t.NotAfter))
	c := *t
	c.SerialNumber, c.NotBefore = base.SerialNumber, base.NotBefore
	if c.NotAfter.After(p.cert.NotAfter) {
		c.NotAfter = p.cert.NotAfter
	}
	c.BasicConstraintsValid, c.IsCA = true, false
	der, err := x509.CreateCertificate(rand.Reader, &c, p.cert, key, p.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for %s: %w", t.Subject, err)
	}
	return certPEM(der), nil
}

func template(name pkix.Name, life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(fmt.Sprintf("wire: no randomness: %v", err))
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: name, NotBefore: now.Add(-5 * time.Minute), NotAfter: now.Add(life)}
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// KeyPEM returns a private key in PKCS#8.
func KeyPEM(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// CertPEM returns a certificate with its chain.
func CertPEM(c tls.Certificate) []byte {
	var out []byte
	for _, der := range c.Certificate {
		out = append(out, certPEM(der)...)
	}
	return out
}

func writeKey(path string, key crypto.PrivateKey) error {
	b, err := KeyPEM(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// ServerTLS returns the serving side: it shows cert, and verifies client
// certificates against ca where clients show one, or always if required.
func ServerTLS(cert tls.Certificate, ca *x509.CertPool, required bool) *tls.Config {
	c := &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: ca, ClientAuth: tls.VerifyClientCertIfGiven,
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	}
	if required {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c
}

// ClientTLS returns the dialling side: it shows cert and trusts ca alone.
func ClientTLS(cert tls.Certificate, ca *x509.CertPool) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: ca, MinVersion: tls.VersionTLS12}
}

// Kubeconfig returns a kubeconfig for cert at the server's URL.
func (p *PKI) Kubeconfig(server string, cert tls.Certificate) ([]byte, error) {
	key, err := KeyPEM(cert.PrivateKey)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: trireme
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: admin
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: trireme
  context: {cluster: trireme, user: admin}
current-context: trireme
`, server, b64(p.CAPEM()), b64(CertPEM(cert)), b64(key)), nil
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
