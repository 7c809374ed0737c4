package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestHTTP(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/bad":
			w.WriteHeader(http.StatusInternalServerError)
		case r.URL.Path == "/away":
			http.Redirect(w, r, "http://other.invalid/", http.StatusFound)
		case r.URL.Path == "/host" && r.Host != "named.example", r.URL.Path == "/query" && r.URL.RawQuery != "a=b":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	target := Target{IP: "127.0.0.1", Ports: map[string]int32{"web": int32(port)}}
	for _, tt := range []struct {
		path string
		port intstr.IntOrString
		want Result
	}{
		{"/", intstr.FromInt(port), Success}, {"/", intstr.FromString("web"), Success}, {"/", intstr.FromString("none"), Failure},
		{"/bad", intstr.FromInt(port), Failure}, {"/away", intstr.FromInt(port), Success}, {"/host", intstr.FromInt(port), Success},
		{"/query?a=b", intstr.FromInt(port), Success},
	} {
		p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: tt.path, Port: tt.port, HTTPHeaders: []corev1.HTTPHeader{{Name: "host", Value: "named.example"}},
		}}}
		if got, msg := Check(t.Context(), p, target); got != tt.want {
			t.Errorf("%s %s: %d, %s", tt.path, tt.port.String(), got, msg)
		}
	}
}

func TestTCPAndGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, h := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(srv, h)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	target, service := Target{IP: "127.0.0.1"}, "s"
	tcp := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(port)}}}
	rpc := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(port), Service: &service}}}
	if got, msg := Check(t.Context(), tcp, target); got != Success {
		t.Errorf("tcp: %s", msg)
	}
	if got, _ := Check(t.Context(), rpc, target); got != Failure {
		t.Error("grpc: an unknown service is healthy")
	}
	h.SetServingStatus("s", grpc_health_v1.HealthCheckResponse_SERVING)
	if got, msg := Check(t.Context(), rpc, target); got != Success {
		t.Errorf("grpc: %s", msg)
	}
	h.SetServingStatus("s", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if got, _ := Check(t.Context(), rpc, target); got != Failure {
		t.Error("grpc: not serving is healthy")
	}
	tcp.TCPSocket.Port = intstr.FromInt(0)
	if got, _ := Check(t.Context(), tcp, target); got != Failure {
		t.Error("tcp: port 0 is open")
	}
}

func TestThresholdsAndDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		codes := []int{1, 1, 0, 1, 1, 1, 0, 0}
		var counts []bool
		p := &corev1.Probe{
			InitialDelaySeconds: 5, PeriodSeconds: 2, FailureThreshold: 3, SuccessThreshold: 2,
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}},
		}
		i := 0
		target := Target{Exec: func(context.Context, []string, time.Duration) (string, int, error) {
			i++
			if i == 1 && time.Since(began) != 5*time.Second {
				t.Errorf("the first probe after %s", time.Since(began))
			}
			return "", codes[i-1], nil
		}}
		Run(t.Context(), p, target, began, func(o Outcome) bool {
			counts = append(counts, o.Counts)
			return len(counts) < len(codes)
		})
		for i, want := range []bool{false, false, false, false, false, true, false, true} {
			if counts[i] != want {
				t.Errorf("answer %d counts: %v", i, counts[i])
			}
		}
		if took := time.Since(began); took != 5*time.Second+time.Duration(len(codes)-1)*2*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestExecThatFailsToRun(t *testing.T) {
	p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}
	target := Target{Exec: func(context.Context, []string, time.Duration) (string, int, error) {
		return "", 0, errors.New("timeout")
	}}
	if got, _ := Check(t.Context(), p, target); got != Failure {
		t.Error("a command that times out is no failure")
	}
}
