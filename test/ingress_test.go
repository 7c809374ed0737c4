package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/test/cluster"
)

// ingressManifest is a web service, reached by a host with TLS, and by no host at all.
const ingressManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      containers: [` + webContainer + `]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: secure, annotations: {trireme.dev/https-redirect: "true"}}
spec:
  tls: [{hosts: [secure.example], secretName: web-tls}]
  rules:
  - host: secure.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: any}
spec:
  rules:
  - http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
`

const badIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: bad}
spec:
  rules:
  - host: 192.0.2.1
    http: {paths: [{path: relative, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
`

// keyPair writes a certificate for example.com and its key, and returns who signed it.
func keyPair(t *testing.T) (cert, key string, ca *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(nil) // its certificate is for example.com
	defer s.Close()
	der := s.TLS.Certificates[0]
	pkcs8, err := x509.MarshalPKCS8PrivateKey(der.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der.Certificate[0]}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	ca = x509.NewCertPool()
	ca.AddCert(s.Certificate())
	return cert, key, ca
}

// ask asks a machine for a URL, whatever its host, and returns the status, the protocol
// and where it leads.
func ask(t *testing.T, from cluster.Place, address, url string, ca *x509.CertPool) (string, error) {
	t.Helper()
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(to)
			if err != nil {
				return nil, err
			}
			return from.Dial(ctx, network, net.JoinHostPort(address, port))
		},
		TLSClientConfig: &tls.Config{RootCAs: ca}, ForceAttemptHTTP2: true,
	}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: 5 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return strings.TrimSpace(fmt.Sprintf("%s %d %s", resp.Proto, resp.StatusCode, resp.Header.Get("Location"))), nil
}

// TestIngress: an Ingress applied through kubectl answers on every machine, by host,
// with TLS, HTTP/2 and WebSocket; while it changes every 50 ms, and while its pods are replaced, no
// request fails.
func TestIngress(t *testing.T) {
	c := ownCluster(t, 2)
	manager, worker := c.Hosts[0], c.Hosts[1]
	log := filepath.Join(manager.Root, "access.log")
	if err := bringUp(t.Context(), manager, "--ingress-access-log", log); err != nil {
		t.Fatal(err)
	}
	join(t, manager, worker)
	k := &client{t: t, h: manager, namespace: "default"}
	if out, err := k.run(t.Context(), badIngress, "apply", "-f", "-"); err == nil ||
		!strings.Contains(out, "spec.rules[0].host") || !strings.Contains(out, "spec.rules[0].http.paths[0].path") {
		t.Errorf("a bad ingress: %v: %s", err, out)
	}
	cert, key, ca := keyPair(t)
	k.must("create", "secret", "tls", "web-tls", "--cert", cert, "--key", key)
	takenPort(t, k, worker, func() {
		k.apply(strings.ReplaceAll(ingressManifest, "secure.example", "example.com"))
	})
	named(t, k, "ingress/secure", manager.Address+" "+worker.Address)
	k.must("rollout", "status", "deployment/web", "--timeout=60s")
	answers(t, c, ca, map[string]string{
		"https://example.com/":    "HTTP/2.0 200",
		"http://example.com/":     "HTTP/1.1 308 https://example.com/",
		"http://other.example/":   "HTTP/1.1 200",
		"http://other.example/no": "HTTP/1.1 404",
	})
	accessLog(t, k, log)
	ingressSocket(t, c, k, cert)
	ingressCertificate(t, c, k)
	ingressReloads(t, c, k)
}

// takenPort applies the Ingress secure while somebody else has port 443 of a machine: its
// node has an event that says so, and only the Ingress that needs no TLS names it.
func takenPort(t *testing.T, k *client, h *cluster.Host, apply func()) {
	t.Helper()
	var taken net.Listener
	err := h.Within(func() (err error) {
		taken, err = net.Listen("tcp", ":443")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	apply()
	named(t, k, "ingress/secure", k.h.Address)
	named(t, k, "ingress/any", k.h.Address+" "+h.Address)
	await(t, k.h, 10*time.Second, "an event names the port", func() error {
		out := k.must("get", "events", "--field-selector", "involvedObject.name="+h.Name+",reason=IngressPortTaken", "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(out, "port 443") || !strings.Contains(out, "--ingress=false") {
			return errors.New(out)
		}
		return nil
	})
}

// named waits until an Ingress names these addresses.
func named(t *testing.T, k *client, ingress, want string) {
	t.Helper()
	await(t, k.h, 15*time.Second, ingress+" names "+want, func() error {
		if got := k.get(ingress, ".status.loadBalancer.ingress[*].ip"); got != want {
			return errors.New(got)
		}
		return nil
	})
}

// accessLog: the log has the requests that the manager's node answered, and the node
// counts connections.
func accessLog(t *testing.T, k *client, log string) {
	t.Helper()
	want := map[string]bool{"example.com/ 200 default/web": true, "other.example/no 404 default/web": true}
	await(t, k.h, 10*time.Second, "the access log has the requests", func() error {
		f, err := os.Open(log)
		if err != nil {
			return err
		}
		defer f.Close()
		for lines := json.NewDecoder(f); len(want) > 0; {
			var l struct {
				Host, Path, Service string
				Status              int
			}
			if err := lines.Decode(&l); err != nil {
				return fmt.Errorf("%w: it lacks %v", err, want)
			}
			got := fmt.Sprintf("%s%s %d %s", l.Host, l.Path, l.Status, l.Service)
			delete(want, got)
		}
		return nil
	})
	if out := k.must("get", "--raw", "/api/v1/nodes/"+k.h.Name+"/proxy/metrics"); !strings.Contains(out, `trireme_ingress_open_connections{port="80"}`) {
		t.Errorf("the figures of ingress lack its connections: %s", out)
	}
}

const clusterIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s, annotations: {trireme.dev/certificate: cluster}}
spec:
  tls: [{hosts: [%s], secretName: %[1]s-tls}]
  rules:
  - host: %[2]q
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
`

// ingressCertificate: who asks for a certificate of the cluster's authority has one; who
// asks for one of a name of the cluster is told why not.
func ingressCertificate(t *testing.T, c *cluster.Cluster, k *client) {
	t.Helper()
	k.apply(fmt.Sprintf(clusterIngress, "ours", "ours.example") + "---" + fmt.Sprintf(clusterIngress, "api", "kubernetes.default.svc"))
	ca := x509.NewCertPool()
	ca.AppendCertsFromPEM([]byte(k.get("configmap/kube-root-ca.crt", `.data.ca\.crt`)))
	await(t, k.h, 10*time.Second, "the cluster's certificate is shown", func() error {
		got, err := ask(t, c.Outside(), c.Hosts[1].Address, "https://ours.example/", ca)
		if err == nil && got != "HTTP/2.0 200" {
			err = errors.New(got)
		}
		return err
	})
	await(t, k.h, 10*time.Second, "a name of the cluster is refused", func() error {
		out := k.must("get", "events", "--field-selector", "involvedObject.name=api,reason=CertificateRefused", "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(out, "spec.tls[0]") || !strings.Contains(out, "inside of the cluster") {
			return errors.New(out)
		}
		return nil
	})
	if out, err := k.run(t.Context(), "", "get", "secret", "api-tls"); err == nil {
		t.Errorf("there is a certificate for the API: %s", out)
	}
}

// ingressReloads asks both machines while the Ingress and its pods change.
func ingressReloads(t *testing.T, c *cluster.Cluster, k *client) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", k.h.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.Dial, config.QPS = k.h.Dial, -1
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	underLoad(t, c, func(ctx context.Context) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		reloads := 0
		var wg sync.WaitGroup
		wg.Go(func() {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/rules/0/http/paths/0/pathType","value":%q}]`, []string{"Prefix", "Exact"}[reloads%2])
				if _, err := api.NetworkingV1().Ingresses(k.namespace).Patch(ctx, "any", types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				reloads++
				<-tick.C
			}
		})
		k.must("set", "image", "deployment/web", "web=trireme.local/web:2")
		k.must("rollout", "status", "deployment/web", "--timeout=90s")
		k.must("rollout", "undo", "deployment/web")
		k.must("rollout", "status", "deployment/web", "--timeout=90s")
		stop()
		wg.Wait()
		if reloads < 20 {
			t.Errorf("%d reloads only", reloads)
		}
	})
}
