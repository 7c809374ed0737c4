package wire

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"trireme/internal/kind"
)

// MessageBytesMax is the largest message of a session: one object of the largest
// allowed size fits with room to spare.
const MessageBytesMax = 16 << 20

// WindowBytes is how much may be on its way that the other side has not read. It is
// fixed because gRPC, left to find the best, sends a ping with nearly every message.
const WindowBytes = 1 << 20

// How a silent manager is noticed.
const (
	pingEvery   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// connectMax bounds one try to connect: the kernel asks an unreachable manager once
// a second at first, but after some seconds ever less often.
const connectMax = 6 * time.Second

// Join asks the manager at addr for the node's first certificate. It trusts the
// manager only if its certificate comes from the authority whose digest the token
// pins. It returns the certificate with its new key, and the authority's own.
func Join(ctx context.Context, addr string, token Token, node string, hosts []string) (tls.Certificate, *x509.Certificate, error) {
	conn, err := dialPinned(addr, token)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	defer conn.Close()
	key, public, err := newKey()
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	resp, err := NewAgentsClient(conn).Join(ctx, &JoinRequest{Secret: token.Secret, Node: node, Hosts: hosts, PublicKey: public})
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("joining the cluster at %s: %w", addr, err)
	}
	cert, ca, err := identity(resp, key)
	if err == nil && Digest(ca) != token.Digest {
		err = kind.New(kind.Denied, "the manager sent another authority than the token names")
	}
	return cert, ca, err
}

// JoinManager asks the manager at addr to make this machine a manager. It trusts it as Join does.
func JoinManager(ctx context.Context, addr string, token Token, r *ManagerRequest) (*ManagerResponse, error) {
	conn, err := dialPinned(addr, token)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r.Secret = token.Secret
	resp, err := NewAgentsClient(conn).JoinManager(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("joining the managers at %s: %w", addr, fromStatus(err))
	}
	return resp, nil
}

// dialPinned dials a manager of the cluster that the token names.
func dialPinned(addr string, token Token) (*grpc.ClientConn, error) {
	return dial(addr, &tls.Config{
		MinVersion: tls.VersionTLS12,
		// There is no pool to verify against yet: verifyPinned does it in its place.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return verifyPinned(s, token.Digest) },
	})
}

// Renew asks the manager at addr for a new certificate, for a new key, for the
// node that config's certificate names.
func Renew(ctx context.Context, addr string, config *tls.Config, hosts []string) (tls.Certificate, *x509.Certificate, error) {
	conn, err := dial(addr, ManagersOnly(config))
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	defer conn.Close()
	key, public, err := newKey()
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	resp, err := NewAgentsClient(conn).Renew(ctx, &RenewRequest{Hosts: hosts, PublicKey: public})
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("renewing the certificate at %s: %w", addr, err)
	}
	return identity(resp, key)
}

// RenewAt returns when a certificate is to be renewed: when a third of its life
// is left.
func RenewAt(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
}

func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	return key, public, err
}

// identity checks that the manager signed our key and returns it as a pair.
func identity(resp *JoinResponse, key crypto.Signer) (tls.Certificate, *x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(resp.Certificate)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading the manager's answer: %w", err)
	}
	ca, err := x509.ParseCertificate(resp.Ca)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading the manager's answer: %w", err)
	}
	if !key.Public().(*ecdsa.PublicKey).Equal(leaf.PublicKey) {
		return tls.Certificate{}, nil, kind.New(kind.Invalid, "the manager signed another key")
	}
	if err := leaf.CheckSignatureFrom(ca); err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("checking the manager's answer: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Raw}, PrivateKey: key, Leaf: leaf}, ca, nil
}

// verifyPinned accepts a manager whose chain ends in the authority with the digest.
func verifyPinned(s tls.ConnectionState, digest string) error {
	pool := x509.NewCertPool()
	found := false
	for _, c := range s.PeerCertificates[1:] {
		if c.IsCA && Digest(c) == digest {
			pool.AddCert(c)
			found = true
		}
	}
	if !found {
		return kind.New(kind.Denied, "this is not the cluster the token is for: its certificate comes from another authority")
	}
	leaf := s.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: s.ServerName}); err != nil {
		return err
	}
	return isManager(leaf)
}

// isManager refuses those who hold a certificate of the cluster but are no
// manager: a node may serve under names it chose itself.
func isManager(c *x509.Certificate) error {
	if c.Subject.CommonName != ManagerName || len(c.Subject.Organization) != 1 || c.Subject.Organization[0] != MastersGroup {
		return kind.New(kind.Denied, "%s is no manager", c.Subject.CommonName)
	}
	return nil
}

// ManagersOnly returns config, verifying beside the chain that the other side is
// a manager.
func ManagersOnly(config *tls.Config) *tls.Config {
	c := config.Clone()
	c.VerifyConnection = func(s tls.ConnectionState) error { return isManager(s.PeerCertificates[0]) }
	return c
}

func dial(addr string, config *tls.Config) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectMax}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MessageBytesMax), grpc.MaxCallSendMsgSize(MessageBytesMax)),
		grpc.WithReadBufferSize(4<<10),
		grpc.WithInitialWindowSize(WindowBytes), grpc.WithInitialConnWindowSize(WindowBytes),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithDisableHealthCheck(),
		grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, fmt.Errorf("dialling the manager at %s: %w", addr, err)
	}
	return conn, nil
}
