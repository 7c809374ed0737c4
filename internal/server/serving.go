package server

import (
	"crypto/tls"
	"net"
	"strings"

	"trireme/internal/wire"
)

// certificatesMax bounds how many certificates are kept, one for each address that was dialled.
const certificatesMax = 64

// serving returns what a door shows for one term of leading. Who was passed on by another manager
// has dialled that one: the certificate is for the names of all managers, and for the address where
// the client knocked.
func (a *managers) serving() *tls.Config {
	c := wire.ServerTLS(tls.Certificate{}, a.m.pki.Pool(), false)
	c.Certificates, c.GetCertificate = nil, a.certificate
	return c
}

func (a *managers) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	hosts := append(a.m.hosts(), a.Hosts()...)
	if host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String()); err == nil {
		hosts = append(hosts, host)
	}
	key := strings.Join(hosts, " ")
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.certificates[key]; c != nil {
		return c, nil
	}
	c, err := a.m.pki.Issue(wire.Leaf{Name: wire.ManagerName, Group: wire.MastersGroup, Hosts: hosts})
	if err != nil {
		return nil, err
	}
	if a.certificates == nil || len(a.certificates) == certificatesMax {
		a.certificates = map[string]*tls.Certificate{}
	}
	a.certificates[key] = &c
	return &c, nil
}
