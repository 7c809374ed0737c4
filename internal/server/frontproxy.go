package server

import (
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// frontProxyName is who the API says it is when it passes a request on to an
// aggregated API server.
const frontProxyName = "front-proxy-client"

// frontProxy issues what the aggregator shows to the servers behind it. Its
// authority is its own: whoever has a certificate of it is believed about who
// the caller is, and the cluster's authority also signs for nodes and users.
func (m *manager) frontProxy() (ca *wire.PKI, cert, key string, err error) {
	if ca, err = wire.OpenPKI(m.cfg.path("pki", "front-proxy")); err != nil {
		return nil, "", "", err
	}
	leaf, err := ca.Issue(wire.Leaf{Name: frontProxyName})
	if err != nil {
		return nil, "", "", err
	}
	keyPEM, err := wire.KeyPEM(leaf.PrivateKey)
	if err != nil {
		return nil, "", "", err
	}
	cert, key = m.cfg.path("pki", "front-proxy", "client.crt"), m.cfg.path("pki", "front-proxy", "client.key")
	for path, b := range map[string][]byte{cert: wire.CertPEM(leaf), key: keyPEM} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return nil, "", "", fmt.Errorf("writing the aggregator's certificate: %w", err)
		}
	}
	return ca, cert, key, nil
}

// ensureExtensionAuth tells aggregated API servers whom to believe (Kubernetes,
// "Configure the Aggregation Layer"): clients of the cluster's authority, and
// the headers of the aggregator.
func ensureExtensionAuth(tx *store.Tx, clientCA, proxyCA []byte) {
	key := object.Key{Namespace: metav1.NamespaceSystem, Name: "extension-apiserver-authentication"}
	want := map[string]string{
		"client-ca-file":                     string(clientCA),
		"requestheader-client-ca-file":       string(proxyCA),
		"requestheader-allowed-names":        `["` + frontProxyName + `"]`,
		"requestheader-username-headers":     `["X-Remote-User"]`,
		"requestheader-uid-headers":          `["X-Remote-Uid"]`,
		"requestheader-group-headers":        `["X-Remote-Group"]`,
		"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
	}
	next := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if have, ok := tables.ConfigMaps.Get(tx, key); ok {
		same := len(have.Data) == len(want)
		for k, v := range want {
			same = same && have.Data[k] == v
		}
		if same {
			return
		}
		next = have.DeepCopy()
	}
	next.Data = want
	tables.ConfigMaps.Put(tx, next)
}
