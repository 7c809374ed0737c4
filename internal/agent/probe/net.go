package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// userAgent is what HTTP probes call themselves unless a header says otherwise.
const userAgent = "kube-probe/trireme"

// bodyMax bounds what is read of an answer.
const bodyMax = 10 << 10

// Port resolves a port by number or by name.
func (t Target) Port(p intstr.IntOrString) (int32, error) {
	n := int32(p.IntValue())
	if p.Type == intstr.String {
		if named, ok := t.Ports[p.StrVal]; ok {
			n = named
		}
	}
	if n < 1 || n > 65535 {
		return 0, fmt.Errorf("invalid port %q", p.String())
	}
	return n, nil
}

// URL returns where an HTTP action goes.
func (t Target) URL(a *corev1.HTTPGetAction) (*url.URL, error) {
	port, err := t.Port(a.Port)
	if err != nil {
		return nil, err
	}
	host, scheme := a.Host, "http"
	if host == "" {
		host = t.IP
	}
	if a.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	u, err := url.Parse(a.Path)
	if err != nil {
		u = &url.URL{Path: a.Path}
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(host, strconv.Itoa(int(port)))
	return u, nil
}

// Get makes the request of an HTTP action. Redirects to other hosts are not
// followed: that the container answered is success.
func (t Target) Get(ctx context.Context, a *corev1.HTTPGetAction) (status int, body string, err error) {
	u, err := t.URL(a)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "*/*")
	for i, h := range a.HTTPHeaders {
		if first := !headerBefore(a.HTTPHeaders[:i], h.Name); first {
			req.Header.Del(h.Name)
		}
		req.Header.Add(h.Name, h.Value)
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
		}
	}
	tr := &http.Transport{
		DisableKeepAlives: true, Proxy: nil,
		// A probe asks whether the container answers, not who it is: the field's
		// probes never verify.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec
	}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, CheckRedirect: func(to *http.Request, via []*http.Request) error {
		if to.URL.Hostname() != via[0].URL.Hostname() || len(via) >= 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, bodyMax))
	return res.StatusCode, string(b), err
}

func headerBefore(hs []corev1.HTTPHeader, name string) bool {
	for _, h := range hs {
		if http.CanonicalHeaderKey(h.Name) == http.CanonicalHeaderKey(name) {
			return true
		}
	}
	return false
}

func checkHTTP(ctx context.Context, a *corev1.HTTPGetAction, t Target) (Result, string) {
	status, body, err := t.Get(ctx, a)
	switch {
	case err != nil:
		return Failure, err.Error()
	case status >= 200 && status < 400:
		return Success, body
	}
	return Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", status)
}

func checkTCP(ctx context.Context, a *corev1.TCPSocketAction, t Target) (Result, string) {
	port, err := t.Port(a.Port)
	if err != nil {
		return Failure, err.Error()
	}
	host := a.Host
	if host == "" {
		host = t.IP
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return Failure, err.Error()
	}
	c.Close()
	return Success, ""
}

func checkGRPC(ctx context.Context, a *corev1.GRPCAction, t Target) (Result, string) {
	addr := net.JoinHostPort(t.IP, strconv.Itoa(int(a.Port)))
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent(userAgent), grpc.WithNoProxy())
	if err != nil {
		return Failure, err.Error()
	}
	defer conn.Close()
	req := &grpc_health_v1.HealthCheckRequest{}
	if a.Service != nil {
		req.Service = *a.Service
	}
	res, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, req)
	switch {
	case err != nil:
		return Failure, fmt.Sprintf("service unhealthy: %v", err)
	case res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING:
		return Failure, fmt.Sprintf("service unhealthy (responded with %q)", res.GetStatus())
	}
	return Success, ""
}
