package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport/websocket"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"trireme/test/cluster"
)

// outsideService is a service whose one endpoint is no pod.
const outsideService = `
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-outside, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{port: %[2]d}]
endpoints: [{addresses: [` + cluster.Outside4 + `]}]
---
`

// outside returns the manifest of a service that this process answers for, beside the
// cluster's machines.
func outside(t *testing.T, c *cluster.Cluster, name string, serve func(net.Listener) error) string {
	t.Helper()
	var l net.Listener
	err := c.Outside().Within(func() (err error) {
		l, err = net.Listen("tcp4", cluster.Outside4+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- serve(l) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return fmt.Sprintf(outsideService, name, l.Addr().(*net.TCPAddr).Port)
}

const socketIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: socket}
spec:
  tls: [{hosts: [example.com], secretName: web-tls}]
  rules:
  - host: example.com
    http: {paths: [{path: /socket, pathType: Exact, backend: {service: {name: socket, port: {number: 80}}}}]}
`

// ingressSocket: a WebSocket goes through an Ingress with TLS, in both directions, on
// every machine.
func ingressSocket(t *testing.T, c *cluster.Cluster, k *client, caFile string) {
	t.Helper()
	const protocol = "echo.trireme.test"
	k.apply(outside(t, c, "socket", func(l net.Listener) error {
		return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{protocol: {Binary: true, Channels: []wsstream.ChannelType{wsstream.ReadWriteChannel}}})
			_, streams, err := conn.Open(w, r)
			if err != nil {
				return
			}
			defer conn.Close()
			io.Copy(streams[0], streams[0])
		}))
	}) + socketIngress)
	for _, h := range c.Hosts {
		await(t, k.h, 10*time.Second, "a WebSocket to "+h.Name+" echoes", func() error {
			return c.Outside().Within(func() error { return echoes(t.Context(), h.Address, protocol, caFile) })
		})
	}
}

// echoes says something three times through a WebSocket and hears it. The first byte of
// a message is its channel.
func echoes(ctx context.Context, address, protocol, caFile string) error {
	rt, holder, err := websocket.RoundTripperFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: caFile, ServerName: "example.com"}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/socket", nil)
	if err != nil {
		return err
	}
	req.Header["Host"] = []string{"example.com"}
	conn, err := websocket.Negotiate(rt, holder, req, protocol)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	const binary = 2 // RFC 6455 §5.2
	for i := range 3 {
		want := fmt.Sprintf("\x00hello %d", i)
		if err := conn.WriteMessage(binary, []byte(want)); err != nil {
			return err
		}
		if _, got, err := conn.ReadMessage(); err != nil || string(got) != want {
			return fmt.Errorf("said %q, heard %q: %w", want, got, err)
		}
	}
	return nil
}

const grpcManifest = `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: grpc}
spec:
  parentRefs: [{name: front}]
  hostnames: [example.com]
  rules:
  - matches: [{method: {service: grpc.health.v1.Health, method: Check}}]
    backendRefs: [{name: grpc, port: 80}]
`

// grpcCalls: a call of the method that a GRPCRoute names is answered on every machine,
// with TLS and without; one of another method is not.
func grpcCalls(t *testing.T, c *cluster.Cluster, k *client, ca *x509.CertPool) {
	t.Helper()
	s := grpc.NewServer()
	known := health.NewServer()
	known.SetServingStatus("trireme", healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(s, known)
	k.apply(outside(t, c, "grpc", s.Serve) + grpcManifest)
	t.Cleanup(s.Stop)
	for _, h := range c.Hosts {
		for port, creds := range map[string]credentials.TransportCredentials{
			"80": insecure.NewCredentials(), "443": credentials.NewTLS(&tls.Config{RootCAs: ca, ServerName: "example.com"}),
		} {
			at := net.JoinHostPort(h.Address, port)
			conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(creds), grpc.WithAuthority("example.com"),
				grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) { return c.Outside().Dial(ctx, "tcp", to) }))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			asked := healthv1.NewHealthClient(conn)
			await(t, k.h, 10*time.Second, "a call to "+at+" is answered", func() error {
				got, err := asked.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "trireme"})
				if err == nil && got.Status != healthv1.HealthCheckResponse_SERVING {
					err = errors.New(got.String())
				}
				return err
			})
			if got, err := asked.List(t.Context(), &healthv1.HealthListRequest{}); err == nil {
				t.Errorf("%s: a method without a route answers %v", at, got)
			}
		}
	}
}

const weightsManifest = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split}
spec:
  parentRefs: [{name: front}]
  hostnames: [split.example]
  rules:
  - backendRefs: [{name: most, port: 80, weight: 3}, {name: some, port: 80}, {name: none, port: 80, weight: 0}]
`

// weights: the backends of an HTTPRoute get requests as their weights say. Of 400
// requests a fourth goes to the lighter one: 100, with a standard deviation of 8.7, so
// that a right proxy is outside of the bounds once in 10¹¹ runs.
func weights(t *testing.T, c *cluster.Cluster, k *client) {
	t.Helper()
	var counts [3]atomic.Int32
	manifest := weightsManifest
	for i, name := range []string{"most", "some", "none"} {
		manifest = outside(t, c, name, func(l net.Listener) error {
			return http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { counts[i].Add(1) }))
		}) + manifest
	}
	k.apply(manifest)
	answers(t, c, nil, map[string]string{"http://split.example/": "HTTP/1.1 200"})
	for i := range counts {
		counts[i].Store(0)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return c.Outside().Dial(ctx, network, net.JoinHostPort(c.Hosts[1].Address, "80"))
	}}}
	defer client.CloseIdleConnections()
	const requests = 400
	for range requests {
		if _, err := cluster.Get(t.Context(), client, "http://split.example/"); err != nil {
			t.Fatal(err)
		}
	}
	most, some, none := counts[0].Load(), counts[1].Load(), counts[2].Load()
	if most+some != requests || none != 0 || some < 40 || some > 160 {
		t.Errorf("weights 3, 1 and 0 of %d requests: %d, %d and %d", requests, most, some, none)
	}
}
