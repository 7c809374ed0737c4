package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
)

// asks makes a health check and returns status, weight and body.
func asks(t testing.TB, ns netns.NsHandle, addr string) (answer string) {
	t.Helper()
	err := within(t, ns, func() error {
		c, err := net.DialTimeout("tcp4", addr, dialMax)
		if err != nil {
			return err
		}
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(dialMax)))
		if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answer = fmt.Sprintf("%d %s %s", resp.StatusCode, resp.Header.Get("X-Load-Balancing-Endpoint-Weight"), body)
		return err
	})
	must(t, err)
	return answer
}

// listens waits until somebody listens on a port of the machine, or nobody does.
func (m *machine) listens(port int, want bool) {
	m.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Second)
	for {
		err := within(m.t, m.ns, func() error {
			c, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", port), dialMax)
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil == want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			m.t.Fatalf("port %d: listened on: %t, want %t", port, err == nil, want)
		}
	}
}

func TestHealthChecks(t *testing.T) {
	m := newWorld(t).node(1)
	a, outside := m.pod("a", 2), m.world.host(200)
	svc := service("web", "10.96.1.1", corev1.ServiceTypeLoadBalancer, tcp(80, 30080))
	svc.Spec.ExternalTrafficPolicy, svc.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 30900
	addr := m.ip.String() + ":30900"
	answers := func(status, local int) {
		t.Helper()
		want := fmt.Sprintf("%d %d {\"service\":{\"namespace\":\"default\",\"name\":\"web\"},\"localEndpoints\":%d,\"serviceProxyHealthy\":true}\n", status, local, local)
		if got := asks(t, outside.ns, addr); got != want {
			t.Errorf("answered %s\nwant %s", got, want)
		}
	}
	m.apply(false, svc)
	m.listens(30900, true)
	answers(http.StatusServiceUnavailable, 0)
	m.apply(false, endpoints("web", a))
	answers(http.StatusOK, 1)
	away := endpoints("web", a)
	away.Endpoints[0].NodeName = ptr("node-2")
	m.apply(false, away)
	answers(http.StatusServiceUnavailable, 0)
	ending := endpoints("web", a)
	ending.Endpoints[0].Conditions.Ready, ending.Endpoints[0].Conditions.Serving = ptr(false), ptr(true)
	m.apply(false, ending)
	answers(http.StatusServiceUnavailable, 0)

	moved := svc.DeepCopy()
	moved.Spec.HealthCheckNodePort = 30901
	m.apply(false, moved, endpoints("web", a))
	m.listens(30901, true)
	m.listens(30900, false)
	m.remove(moved)
	m.listens(30901, false)
}
