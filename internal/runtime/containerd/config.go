package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"path/filepath"

	"trireme/internal/kind"
	"trireme/internal/runtime/shim"
)

// The kernel takes 107 bytes for a unix socket's path.
const (
	socketMax    = 107
	socketDirMax = socketMax - 1 - 64 // a shim's socket is named by 64 hex digits
)

// Config says where things are.
type Config struct {
	// Root is the node's state folder; everything is below Root/containerd.
	// Absolute, and at most 74 bytes long. One of more than 29 has its shims'
	// sockets in a folder of /run/trireme: they would not fit below it.
	Root string
	// BinDir holds containerd, containerd-shim-runc-v2 and runc.
	BinDir string
	// CNIBinDirs hold CNI plugins, CNIConfDir their configuration.
	CNIBinDirs []string
	CNIConfDir string
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
	paths := []struct{ name, value string }{{"Root", c.Root}, {"BinDir", c.BinDir}, {"CNIConfDir", c.CNIConfDir}}
	for _, dir := range c.CNIBinDirs {
		paths = append(paths, struct{ name, value string }{"CNIBinDirs", dir})
	}
	for _, f := range paths {
		if !filepath.IsAbs(f.value) {
			return &kind.Error{Kind: kind.Invalid, Op: "configuring containerd", Field: f.name,
				Err: kind.New(kind.Invalid, "%q is not an absolute path", f.value)}
		}
	}
	if c.PauseImage == "" || c.Log == nil {
		return kind.New(kind.Invalid, "configuring containerd: PauseImage and Log are required")
	}
	if long := len(dirs(c.Root).ttrpc()) - socketMax; long > 0 {
		return &kind.Error{Kind: kind.Invalid, Op: "configuring containerd", Field: "Root",
			Err: kind.New(kind.Invalid, "%q is %d bytes too long: unix sockets below it would not fit", c.Root, long)}
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
func (d dirs) ttrpc() string             { return d.socket() + ".ttrpc" }
func (d dirs) boot() string              { return d.in("state", "boot_id") }
func (d dirs) imports() string           { return d.in("imported.json") }
func (d dirs) bundles() string           { return d.in("state", "io.containerd.runtime.v2.task") }
func (d dirs) native() shim.Dir          { return shim.DirOf(string(d)) }
func (c *Config) binary(n string) string { return filepath.Join(c.BinDir, n) }

// sockets is where shims listen.
func (d dirs) sockets() string {
	if dir := d.in("s"); len(dir) <= socketDirMax {
		return dir
	}
	sum := sha256.Sum256([]byte(d))
	return filepath.Join("/run/trireme", hex.EncodeToString(sum[:8]))
}
