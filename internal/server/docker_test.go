package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trireme/internal/wire"
)

// ask gets a path of the Docker API and returns what it says.
func ask(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status + " " + strings.TrimSpace(string(b))
}

// TestDockerDoor: a manager's socket is the administrator's; over TLS everybody is who the
// certificate says, and nobody without one.
func TestDockerDoor(t *testing.T) {
	cfg := Default()
	cfg.Root, cfg.Node, cfg.Address, cfg.Agent.Enabled = filepath.Join(t.TempDir(), "r"), "n", "127.0.0.1", false
	m := &cfg.Manager
	m.UnsafeNoSync, m.APIListen, m.AgentListen, m.DockerListen = true, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	m.DockerSocket = filepath.Join(t.TempDir(), "s")
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	manager, err := newManager(cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- manager.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the manager ended: %v", err)
		}
	}()
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", m.DockerSocket)
	}}}
	if got := ask(t, socket, "http://docker/swarm"); !strings.HasPrefix(got, "200") || !strings.Contains(got, manager.token.Show()) {
		t.Errorf("the socket's swarm: %s", got)
	}
	url := "https://" + manager.dockerTLS.Addr().String() + "/swarm"
	as := func(who ...wire.Leaf) *http.Client {
		conf := &tls.Config{RootCAs: manager.pki.Pool(), MinVersion: tls.VersionTLS12}
		for _, l := range who {
			cert, err := manager.pki.Issue(l)
			if err != nil {
				t.Fatal(err)
			}
			conf.Certificates = append(conf.Certificates, cert)
		}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
	}
	for _, tt := range []struct {
		client *http.Client
		want   string
	}{
		{as(), "401"}, {as(wire.Leaf{Name: "jane", Group: "dev"}), "403"}, {as(wire.Leaf{Name: "root", Group: wire.MastersGroup}), "200"},
	} {
		if got := ask(t, tt.client, url); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s; want %s", got, tt.want)
		}
	}
	other, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := other.Issue(wire.Leaf{Name: "root", Group: wire.MastersGroup})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: manager.pki.Pool(), MinVersion: tls.VersionTLS12}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("a certificate of another authority: %s", resp.Status)
	}
}
