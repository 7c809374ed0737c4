package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"trireme/internal/access"
	"trireme/internal/api/docker"
	"trireme/internal/api/kube"
	"trireme/internal/kind"
	"trireme/internal/store"
	"trireme/internal/wire"
)

// noSocket says that no Docker API is served there.
const noSocket = "none"

// pathMax is how long the path of a socket may be (unix(7), sun_path).
const pathMax = 107

// DockerSocketPath returns where the Docker API's socket is, where the configuration
// says nothing else.
func (c *Config) DockerSocketPath() string {
	if c.Manager.DockerSocket != "" {
		return c.Manager.DockerSocket
	}
	return defaultSocket(c.Root)
}

// defaultSocket returns where the socket of a root is that nobody chose another for.
func defaultSocket(root string) string {
	if root == Default().Root {
		return "/run/trireme/docker.sock"
	}
	return filepath.Join(root, "docker.sock")
}

// dockerSocket makes the socket of the Docker API, which only its owner can open. One
// that a process left behind is taken away.
func dockerSocket(path string) (net.Listener, error) {
	if path == noSocket {
		return nil, nil
	}
	if len(path) > pathMax {
		return nil, invalid("manager.dockerSocket", "%s is longer than the %d characters that the kernel takes: choose another with --docker-socket", path, pathMax)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return nil, errors.Join(kind.New(kind.Exists, "Docker API: another process answers on %s: stop it, or choose another socket with --docker-socket (none: there is none)", path), c.Close())
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("Docker API: making the socket's folder: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("Docker API: taking away an old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("Docker API: listening on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// dockerPort takes the port of the Docker API with client certificates, nil where there is
// to be none.
func dockerPort(addr string) (net.Listener, error) {
	if addr == noSocket {
		return nil, nil
	}
	return listen("Docker API", "--docker-listen", addr)
}

func closeAny(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// dockerDoor builds the Docker door beside the Kubernetes door, through which it writes as
// whoever asks; nil: there is to be none.
func (m *manager) dockerDoor(s *store.Store, door *kube.Server, serving *tls.Config) (*docker.Server, error) {
	if m.docker == nil && m.dockerTLS == nil {
		return nil, nil
	}
	_, port, err := net.SplitHostPort(m.agents.Addr().String())
	if err != nil {
		return nil, err
	}
	caller := func(c *kube.Caller) docker.Caller {
		return docker.Caller{User: c.User, Key: c.Key(), Client: door.LoopbackAs(c)}
	}
	return docker.New(s, docker.Config{
		Listener: m.doors.Listener(dockerDoor), Owner: caller(kube.CallerOf(access.User{Name: wire.AdminName, Groups: []string{wire.MastersGroup, access.Authenticated}})),
		TLS: m.doors.Listener(dockerTLSDoor), Secure: serving, Identify: func(req *http.Request) (docker.Caller, error) {
			c, err := door.Caller(req)
			if err != nil {
				return docker.Caller{}, err
			}
			return caller(c), nil
		},
		Node: m.cfg.Node, Root: m.cfg.Root, Version: Version, CAPEM: m.pki.CAPEM(), Log: m.cfg.Log,
		Token: m.token, ManagerToken: m.managerToken, JoinPort: port, Heartbeat: time.Duration(m.cfg.Manager.Grace) / 3,
	})
}
