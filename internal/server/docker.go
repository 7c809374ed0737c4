package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"trireme/internal/api/docker"
	"trireme/internal/api/kube"
	"trireme/internal/kind"
	"trireme/internal/store"
)

// noSocket says that no Docker API is served.
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

// dockerDoor builds the Docker door beside the Kubernetes door, through which it writes;
// nil: there is to be none.
func (m *manager) dockerDoor(s *store.Store, door *kube.Server) (*docker.Server, error) {
	if m.docker == nil {
		return nil, nil
	}
	return docker.New(s, docker.Config{
		Listener: m.docker, Client: door.Loopback(), Node: m.cfg.Node, Root: m.cfg.Root, Version: Version, CAPEM: m.pki.CAPEM(), Log: m.cfg.Log,
	})
}
