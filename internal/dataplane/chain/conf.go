package chain

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/libcni"

	"trireme/internal/kind"
)

// configuration is a network as libcni reads it, with every plugin in it.
type configuration struct {
	CNIVersion   string            `json:"cniVersion"`
	Name         string            `json:"name"`
	DisableCheck bool              `json:"disableCheck,omitempty"`
	Plugins      []json.RawMessage `json:"plugins"`
}

// load returns the first configuration of the directory, by name.
func load(dir string) (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(dir, []string{".conf", ".conflist", ".json"})
	if err != nil {
		return nil, kind.New(kind.Unavailable, "reading the directory that --cni-conf-dir names: %w", err)
	}
	if len(files) == 0 {
		return nil, kind.New(kind.Unavailable, "there is no network configuration (*.conflist, *.conf) in %s, which --cni-conf-dir names", dir)
	}
	path := slices.Min(files)
	list, err := read(path)
	if err != nil {
		return nil, kind.New(kind.Unavailable, "network configuration %s: %w", path, err)
	}
	return list, nil
}

// read reads a list of plugins, or one plugin, which is a list of one.
func read(path string) (*libcni.NetworkConfigList, error) {
	if filepath.Ext(path) == ".conflist" {
		return libcni.NetworkConfFromFile(path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	one, err := libcni.NetworkPluginConfFromBytes(b)
	if err != nil {
		return nil, err
	}
	if b, err = json.Marshal(configuration{CNIVersion: one.Network.CNIVersion, Name: one.Network.Name, Plugins: []json.RawMessage{b}}); err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(b)
}

// inline returns the list as one text: of one that was read from a file, some plugins may
// lie in files beside it.
func inline(list *libcni.NetworkConfigList) ([]byte, error) {
	n := configuration{CNIVersion: list.CNIVersion, Name: list.Name, DisableCheck: list.DisableCheck}
	for _, p := range list.Plugins {
		n.Plugins = append(n.Plugins, p.Bytes)
	}
	return json.Marshal(n)
}
