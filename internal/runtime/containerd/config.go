package containerd

import (
	"log/slog"
	"path/filepath"

	"trireme/internal/kind"
)

// socketDirMax keeps a shim's socket, a folder and 64 hex digits, within what
// the kernel takes for a unix socket's path (108 bytes with the final zero).
const socketDirMax = 107 - 1 - 64

// Config says where things are.
type Config struct {
	// Root is the node's state folder; everything is below Root/containerd.
	// Absolute, and at most 29 bytes long.
	Root string
	// BinDir holds containerd, containerd-shim-runc-v2 and runc.
	BinDir string
	// CNIBinDir holds CNI plugins, CNIConfDir their configuration.
	CNIBinDir, CNIConfDir string
	// PauseImage is the image of a sandbox's own process. It is never pulled:
	// one of Images must bring it.
	PauseImage string
	// Images are archives that are imported when they are new.
	Images []string
	// RegistryDir holds hosts.toml files, one folder a registry; may be empty.
	RegistryDir string
	// Log is required.
	Log *slog.Logger
}

func (c *Config) validate() error {
	for _, f := range []struct{ name, value string }{
		{"Root", c.Root}, {"BinDir", c.BinDir}, {"CNIBinDir", c.CNIBinDir}, {"CNIConfDir", c.CNIConfDir},
	} {
		if !filepath.IsAbs(f.value) {
			return &kind.Error{Kind: kind.Invalid, Op: "configuring containerd", Field: f.name,
				Err: kind.New(kind.Invalid, "%q is not an absolute path", f.value)}
		}
	}
	if c.PauseImage == "" || c.Log == nil {
		return kind.New(kind.Invalid, "configuring containerd: PauseImage and Log are required")
	}
	if dir := dirs(c.Root).sockets(); len(dir) > socketDirMax {
		return &kind.Error{Kind: kind.Invalid, Op: "configuring containerd", Field: "Root",
			Err: kind.New(kind.Invalid, "%q is too long: unix sockets below it would not fit; use at most %d bytes",
				c.Root, socketDirMax-len(dir)+len(c.Root))}
	}
	return nil
}

// dirs is a node's state folder; its methods name what lies where.
type dirs string

func (d dirs) base() string              { return filepath.Join(string(d), "containerd") }
func (d dirs) in(elem ...string) string  { return filepath.Join(append([]string{d.base()}, elem...)...) }
func (d dirs) config() string            { return d.in("config.toml") }
func (d dirs) socket() string            { return d.in("containerd.sock") }
func (d dirs) log() string               { return d.in("containerd.log") }
func (d dirs) root() string              { return d.in("root") }
func (d dirs) state() string             { return d.in("state") }
func (d dirs) runc() string              { return d.in("state", "runc") }
func (d dirs) sockets() string           { return d.in("s") }
func (d dirs) boot() string              { return d.in("state", "boot_id") }
func (d dirs) imports() string           { return d.in("imported.json") }
func (d dirs) bundles() string           { return d.in("state", "io.containerd.runtime.v2.task", "k8s.io") }
func (c *Config) binary(n string) string { return filepath.Join(c.BinDir, n) }
