// Package podfiles keeps the small files that the agent makes for containers: their
// last words and their /etc/hosts.
package podfiles

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// End returns the last bytes of a file, limit at most.
func End(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, st.Size()-limit), limit))
}

// Message returns where a container of the pod with the directory leaves its last
// words.
func Message(podDir, container string, attempt uint32) string {
	return filepath.Join(podDir, "containers", container, strconv.Itoa(int(attempt)))
}

// MakeMessage makes that file.
func MakeMessage(podDir, container string, attempt uint32) (string, error) {
	path := Message(podDir, container, attempt)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("making the container's directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return "", fmt.Errorf("making the termination message file: %w", err)
	}
	if err := f.Chmod(0o666); err != nil { // any user of the container may write it
		f.Close()
		return "", err
	}
	return path, f.Close()
}

// MakeHosts writes the pod's /etc/hosts, where it is not there yet: its inode is
// mounted where other containers run. content gets what the node's file says, with
// node.
func MakeHosts(podDir string, node bool, content func(node []byte) []byte) (string, error) {
	path := filepath.Join(podDir, "etc-hosts")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	var have []byte
	if node {
		b, err := os.ReadFile("/etc/hosts")
		if err != nil && !os.IsNotExist(err) {
			return "", fmt.Errorf("reading the node's hosts file: %w", err)
		}
		have = b
	}
	if err := os.WriteFile(path, content(have), 0o644); err != nil {
		return "", fmt.Errorf("writing the pod's hosts file: %w", err)
	}
	return path, os.Chmod(path, 0o644)
}
