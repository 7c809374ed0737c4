package server

import (
	"fmt"
	"maps"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/api/kube/identity"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// frontProxyName is who the API says it is when it passes a request on to an
// aggregated API server.
const frontProxyName = "front-proxy-client"

// openIdentity opens the sources whose word is taken, and with them what the
// aggregator shows as a front proxy of others.
func (m *manager) openIdentity() error {
	cfg := m.cfg.Manager.Authentication
	own := identity.Cluster{Issuer: m.tokens.Audiences()[0], Audiences: m.tokens.Audiences(), ProxyName: frontProxyName, Log: m.cfg.Log}
	m.proxyCert, m.proxyKey = cfg.Proxy.CertFile, cfg.Proxy.KeyFile
	if m.proxyCert == "" {
		if err := m.frontProxy(&own); err != nil {
			return err
		}
	}
	var err error
	m.identity, err = identity.Open(cfg, own)
	return err
}

// frontProxy issues what the aggregator shows to the servers behind it. Its
// authority is its own: whoever has a certificate of it is believed about who
// the caller is, and the cluster's authority also signs for nodes and users.
func (m *manager) frontProxy(own *identity.Cluster) error {
	ca, err := wire.OpenPKI(m.cfg.path("pki", "front-proxy"))
	if err != nil {
		return err
	}
	own.ProxyCA = ca.CAPEM()
	leaf, err := ca.Issue(wire.Leaf{Name: frontProxyName})
	if err != nil {
		return err
	}
	keyPEM, err := wire.KeyPEM(leaf.PrivateKey)
	if err != nil {
		return err
	}
	m.proxyCert, m.proxyKey = m.cfg.path("pki", "front-proxy", "client.crt"), m.cfg.path("pki", "front-proxy", "client.key")
	for path, b := range map[string][]byte{m.proxyCert: wire.CertPEM(leaf), m.proxyKey: keyPEM} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return fmt.Errorf("writing the aggregator's certificate: %w", err)
		}
	}
	return nil
}

// ensureExtensionAuth tells aggregated API servers whom to believe (Kubernetes,
// "Configure the Aggregation Layer"): clients of the cluster's authority, and
// the headers of the aggregator.
func ensureExtensionAuth(tx *store.Tx, clientCA []byte, front map[string]string) {
	key := object.Key{Namespace: metav1.NamespaceSystem, Name: "extension-apiserver-authentication"}
	want := map[string]string{"client-ca-file": string(clientCA)}
	maps.Copy(want, front)
	next := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if have, ok := tables.ConfigMaps.Get(tx, key); ok {
		if maps.Equal(have.Data, want) {
			return
		}
		next = have.DeepCopy()
	}
	next.Data = want
	tables.ConfigMaps.Put(tx, next)
}
