// Package dockerenv gives docker's clients what they need to reach a cluster over TLS: the
// files that they look for, and a certificate for a user who has none.
package dockerenv

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"trireme/internal/kind"
	"trireme/internal/server"
	"trireme/internal/wire"
)

// Options say for whom docker's clients are to ask, and where.
type Options struct {
	Dir     string   // of the files; empty: ~/.trireme/docker, the user's folder in it
	User    string   // gets a new certificate; empty: the configuration's own is taken
	Groups  []string // of User
	Address string   // HOST:PORT of the Docker API; empty: beside the Kubernetes API
}

// Write writes ca.pem, cert.pem and key.pem and says to out what docker wants to have set.
func Write(ctx context.Context, config *rest.Config, o Options, out io.Writer) (err error) {
	if o.Address, err = dockerAddress(o.Address, config.Host); err != nil {
		return err
	}
	if o.Dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("%w: say where with --dir", err)
		}
		o.Dir = filepath.Join(home, ".trireme", "docker", url.PathEscape(o.User))
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	cert, key := config.CertData, config.KeyData
	if o.User != "" {
		if cert, key, err = certificateFor(ctx, config, o); err != nil {
			return fmt.Errorf("getting a certificate for %s: %w", o.User, err)
		}
	}
	if len(cert) == 0 || len(key) == 0 {
		return errors.New(`the kubeconfig has no client certificate: give --user, or have docker show the token with HttpHeaders {"Authorization": "Bearer …"} in its config.json`)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	for name, b := range map[string][]byte{"ca.pem": config.CAData, "cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(o.Dir, name), b, 0o600); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "export DOCKER_HOST=tcp://%s\nexport DOCKER_TLS_VERIFY=1\nexport DOCKER_CERT_PATH=%q\n", o.Address, o.Dir)
	return err
}

// dockerAddress returns where the Docker API answers, beside the Kubernetes API's URL
// where nobody says otherwise.
func dockerAddress(said, api string) (string, error) {
	if said != "" {
		if _, _, err := net.SplitHostPort(said); err != nil {
			return "", kind.New(kind.Invalid, "--address %q is not HOST:PORT", said)
		}
		return said, nil
	}
	u, err := url.Parse(api)
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	_, port, err := net.SplitHostPort(server.Default().Manager.DockerListen)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(cmp.Or(u.Hostname(), api), port), nil
}

// certificateFor has the cluster sign a new key for a user, which takes the right to
// approve.
func certificateFor(ctx context.Context, config *rest.Config, o Options) (cert, key []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cs, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if key, err = wire.KeyPEM(private); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: o.User, Organization: o.Groups}}, private)
	if err != nil {
		return nil, nil, err
	}
	requests := cs.CertificatesV1().CertificateSigningRequests()
	r, err := requests.Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "docker-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: certificatesv1.KubeAPIServerClientSignerName,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, nil, err
	}
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "DockerEnv", Message: "approved by who asked for it with trireme docker env",
	})
	if _, err := requests.UpdateApproval(ctx, r.Name, r, metav1.UpdateOptions{}); err != nil {
		return nil, nil, err
	}
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		now, err := requests.Get(ctx, r.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, c := range now.Status.Conditions {
			if c.Type == certificatesv1.CertificateFailed || c.Type == certificatesv1.CertificateDenied {
				return false, errors.New(c.Message)
			}
		}
		cert = now.Status.Certificate
		return len(cert) > 0, nil
	})
	return cert, key, err
}
