package containerd

import (
	"log/slog"
	"strings"
	"testing"

	"trireme/internal/kind"
)

func valid() Config {
	return Config{
		Root: "/var/lib/trireme", BinDir: "/b", CNIBinDirs: []string{"/c", "/e"}, CNIConfDir: "/d", PauseImage: "pause:1",
		Log: slog.New(slog.DiscardHandler),
	}
}

func TestConfigValidate(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"relative root": func(c *Config) { c.Root = "state" },
		"no bin dir":    func(c *Config) { c.BinDir = "" },
		"no pause":      func(c *Config) { c.PauseImage = "" },
		"no log":        func(c *Config) { c.Log = nil },
		"long root":     func(c *Config) { c.Root = "/" + strings.Repeat("x", 74) },
	} {
		c := valid()
		spoil(&c)
		if _, err := New(c); !kind.Is(err, kind.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	c := valid()
	c.Root = "/" + strings.Repeat("x", 73)
	if _, err := New(c); err != nil {
		t.Errorf("the longest root: %v", err)
	}
}

func TestShimSocketsFit(t *testing.T) {
	for root, below := range map[string]bool{
		"/var/lib/trireme": true, "/" + strings.Repeat("x", 28): true, "/" + strings.Repeat("x", 29): false,
	} {
		dir := dirs(root).sockets()
		if len(dir) > socketDirMax || strings.HasPrefix(dir, root+"/") != below {
			t.Errorf("%s: %s, %d bytes", root, dir, len(dir))
		}
	}
}

func TestRenderQuotes(t *testing.T) {
	c := valid()
	c.CNIConfDir = `/with "quotes" and \`
	text, err := c.render()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`conf_dir = "/with \"quotes\" and \\"`, `bin_dirs = ["/c", "/e"]`, `address = "/var/lib/trireme/containerd/containerd.sock"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "<no value>") || strings.Contains(string(text), "registry]") {
		t.Errorf("holes in\n%s", text)
	}
}

func TestSafeCgroups(t *testing.T) {
	got := safe([]string{"/sys/fs/cgroup", "/", "/sys/fs/cgroup/../../etc", "/sys/fs/cgroup/memory/pods/one", ""})
	if len(got) != 1 || got[0] != "/sys/fs/cgroup/memory/pods/one" {
		t.Errorf("safe: %q", got)
	}
}
