package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trireme/test/cluster"
)

// software builds programs of the module in test/software, which has what people run
// against a cluster: helm, an operator on controller-runtime, parts of CSI drivers. It
// returns where the first one lies, the others beside it.
func software(t *testing.T, pkgs ...string) string {
	t.Helper()
	dir, err := filepath.Abs("../build/software")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"build", "-trimpath", "-p=2", "-ldflags=-s -w", "-o", dir + "/"}, pkgs...)...)
	cmd.Dir, cmd.Env = "software", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %v: %v: %s", pkgs, err, out)
	}
	return filepath.Join(dir, filepath.Base(pkgs[0]))
}

// want runs kubectl and compares what it prints.
func (k *client) want(want string, args ...string) {
	k.t.Helper()
	if got := strings.TrimSpace(k.must(args...)); got != want {
		k.t.Errorf("kubectl %s: %q, want %q", strings.Join(args, " "), got, want)
	}
}

// mustLater is must for cleanups, when the test's context has ended.
func (k *client) mustLater(args ...string) {
	k.t.Helper()
	if out, err := k.run(context.Background(), "", append(args, "--timeout=30s")...); err != nil {
		k.t.Errorf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// TestHelm: a chart with hooks, a custom resource definition and a StatefulSet is
// installed, upgraded, rolled back after a bad upgrade, and uninstalled.
func TestHelm(t *testing.T) {
	helm := software(t, "helm.sh/helm/v3/cmd/helm")
	h := machine(t)
	k := newClient(t, h)
	home := t.TempDir()
	run := func(args ...string) (string, error) {
		return h.Run(t.Context(), "env", append([]string{"HOME=" + home, helm, "-n", k.namespace}, args...)...)
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	chart, err := filepath.Abs("software/chart")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.mustLater("delete", "crd", "orders.shop.example.com", "--ignore-not-found") })

	must("install", "shop", chart, "--wait", "--timeout", "90s")
	k.want("1", "get", "order", "shop-first", "-o", "jsonpath={.spec.amount}")
	k.want("1", "get", "job", "shop-pre-install", "-o", "jsonpath={.status.succeeded}")
	k.want("blue", "get", "pod", "shop-0", "-o", "jsonpath={.metadata.annotations.colour}")

	must("upgrade", "shop", chart, "--set", "colour=red,replicas=2", "--wait", "--timeout", "90s")
	k.want("red red", "get", "pods", "-l", "app=shop", "-o", "jsonpath={.items[*].metadata.annotations.colour}")
	k.want("1", "get", "job", "shop-post-upgrade", "-o", "jsonpath={.status.succeeded}")

	if out, err := run("upgrade", "shop", chart, "--set", "image=trireme.local/none:1", "--wait", "--timeout", "3s"); err == nil {
		t.Errorf("an upgrade to an image that is not there went well: %s", out)
	}
	must("rollback", "shop", "1", "--wait", "--timeout", "90s")
	k.want("blue", "get", "pods", "-l", "app=shop", "-o", "jsonpath={.items[*].metadata.annotations.colour}")
	if out := must("history", "shop"); !strings.Contains(out, "Rollback to 1") {
		t.Errorf("history:\n%s", out)
	}
	must("uninstall", "shop", "--wait", "--timeout", "60s")
	k.want("", "get", "statefulset,service,order,configmap", "-l", "app.kubernetes.io/managed-by=Helm", "-o", "name")
	k.want("", "get", "statefulsets", "-o", "name")
}

// TestOperator: an operator reconciles a custom resource into a Deployment that
// the resource owns, its webhooks fill in and refuse, and a second instance
// takes over when the leader goes.
func TestOperator(t *testing.T) {
	operator := software(t, "./operator")
	h := machine(t)
	k := newClient(t, h)
	certs, ca := webhookCerts(t, h)
	t.Cleanup(func() {
		k.mustLater("delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "sites.example.com", "--ignore-not-found")
		k.mustLater("delete", "crd", "sites.example.com", "--ignore-not-found")
	})
	k.apply(siteDefinition)
	k.must("wait", "--for=condition=Established", "crd/sites.example.com", "--timeout=20s")
	first := startOperator(t, h, operator, "a", certs, 9444)
	await(t, h, 30*time.Second, "the first instance leads", leads(k, "a"))
	startOperator(t, h, operator, "b", certs, 9443)
	await(t, h, 30*time.Second, "the second instance answers", func() error {
		c, err := h.Dial(t.Context(), "tcp", h.Address+":9443")
		if err == nil {
			c.Close()
		}
		return err
	})
	k.apply(fmt.Sprintf(siteWebhooks, h.Address, ca, h.Address, ca))

	k.apply("apiVersion: example.com/v1\nkind: Site\nmetadata: {name: s}\nspec: {replicas: 2}\n")
	k.want("trireme.local/web:1", "get", "site", "s", "-o", "jsonpath={.spec.image}")
	k.must("wait", "--for=jsonpath={.status.ready}=2", "site/s", "--timeout=60s")
	k.want("a", "get", "site", "s", "-o", "jsonpath={.status.by}")
	out, err := k.run(t.Context(), "", "patch", "site", "s", "--type=merge", "-p", `{"spec":{"replicas":9}}`)
	if err == nil || !strings.Contains(out, "9 is more than a site may have (5)") {
		t.Errorf("a site of nine replicas: %v: %s", err, out)
	}
	uid := k.must("get", "deployment", "s", "-o", "jsonpath={.metadata.uid}")
	k.must("delete", "deployment", "s")
	await(t, h, 30*time.Second, "the operator makes the deployment again", func() error {
		if now, err := k.run(t.Context(), "", "get", "deployment", "s", "-o", "jsonpath={.metadata.uid}"); err != nil || now == uid {
			return fmt.Errorf("%s: %v", now, err)
		}
		return nil
	})

	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it may say that it lost the lease: it gave it up
	k.must("patch", "site", "s", "--type=merge", "-p", `{"spec":{"replicas":1}}`)
	k.must("wait", "--for=jsonpath={.status.by}=b", "site/s", "--timeout=60s")
	k.must("delete", "site", "s")
	await(t, h, 30*time.Second, "the deployment goes with its owner", func() error {
		if out := k.must("get", "deployments,pods", "-o", "name"); out != "" {
			return fmt.Errorf("there still is %s", out)
		}
		return nil
	})
}

func leads(k *client, id string) func() error {
	return func() error {
		out, err := k.run(k.t.Context(), "", "get", "lease", "site-operator", "-n", "default", "-o", "jsonpath={.spec.holderIdentity}")
		if err != nil || out == "" {
			return fmt.Errorf("the lease says %q: %v", out, err)
		}
		return nil
	}
}

// startOperator runs an instance on the host until the test ends.
func startOperator(t *testing.T, h *cluster.Host, path, id, certs string, port int) *exec.Cmd {
	t.Helper()
	cmd := h.Command(t.Context(), path, "-id", id, "-certs", certs, "-webhook-port", fmt.Sprint(port))
	runUntilEnd(t, cmd)
	return cmd
}

// webhookCerts makes a certificate for the host's address and returns the folder
// with it and what a webhook configuration names as its authority.
func webhookCerts(t *testing.T, h *cluster.Host) (dir, ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(h.Address)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, b := range map[string][]byte{"tls.crt": chain, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, base64.StdEncoding.EncodeToString(chain)
}

const siteDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sites.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: sites, singular: site, kind: Site}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {replicas: {type: integer}, image: {type: string}}}
          status: {type: object, properties: {ready: {type: integer}, by: {type: string}}}
`

const siteWebhooks = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: sites.example.com}
webhooks:
- name: default.sites.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: "https://%s:9443/default", caBundle: %s}
  rules: [{apiGroups: [example.com], apiVersions: [v1], resources: [sites], operations: [CREATE, UPDATE]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: sites.example.com}
webhooks:
- name: validate.sites.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: "https://%s:9443/validate", caBundle: %s}
  rules: [{apiGroups: [example.com], apiVersions: [v1], resources: [sites], operations: [CREATE, UPDATE]}]
`
