package csi

import (
	"path/filepath"
	"strings"
)

// Home is where the node keeps what a kubelet keeps, and how drivers name it: their
// manifests have the paths of a kubelet's directory in them.
type Home struct {
	Root  string
	Named string // empty: as Root
}

// Here returns where a path that a driver or a pod names lies on this node.
func (h Home) Here(path string) string { return move(path, h.Named, h.Root) }

// There returns how drivers name a path below Root.
func (h Home) There(path string) string { return move(path, h.Root, h.Named) }

func move(path, from, to string) string {
	if from == "" || to == "" {
		return path
	}
	if rest, ok := below(path, from); ok {
		return filepath.Clean(to) + rest
	}
	return path
}

// below returns what comes after the directory in the path.
func below(path, dir string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(filepath.Clean(path), filepath.Clean(dir))
	return rest, ok && (rest == "" || rest[0] == '/')
}

// has reports whether a path of this node lies below Root, or is it.
func (h Home) has(path string) bool {
	_, ok := below(path, h.Root)
	return ok
}

// registry is where drivers make their sockets.
func (h Home) registry() string { return filepath.Join(h.Root, "plugins_registry") }

// dirs are the directories that drivers mount from the node.
func (h Home) dirs() []string {
	return []string{filepath.Join(h.Root, "pods"), filepath.Join(h.Root, "plugins"), h.registry()}
}
