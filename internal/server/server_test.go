package server

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"trireme/internal/kind"
	"trireme/internal/wire"
)

func TestConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		name, field string
		change      func(*Config)
	}{
		{"no network", "podCIDR", func(c *Config) { c.PodCIDR = "ten" }},
		{"host bits", "podCIDR", func(c *Config) { c.PodCIDR = "10.128.0.1/10" }},
		{"too small", "serviceCIDR", func(c *Config) { c.ServiceCIDR = "10.96.0.0/28" }},
		{"overlap", "podCIDR", func(c *Config) { c.ServiceCIDR = "10.128.0.0/16" }},
		{"no address", "address", func(c *Config) { c.Address = "here" }},
		{"relative root", "root", func(c *Config) { c.Root = "state" }},
		{"relative CNI configuration", "agent.cniConfDir", func(c *Config) { c.Agent.CNIConfDir = "net.d" }},
		{"CNI plugins for nothing", "agent.cniBinDir", func(c *Config) { c.Agent.CNIBinDir = "/opt/cni/bin" }},
		{"a node without a manager", "agent.managers", func(c *Config) { c.Manager.Enabled = false }},
	} {
		cfg := Default()
		c.change(&cfg)
		err := cfg.Complete()
		if !kind.Is(err, kind.Invalid) || !strings.HasPrefix(err.Error(), c.field+":") {
			t.Errorf("%s: %v, want an error about %s", c.name, err, c.field)
		}
	}
	cfg := Default()
	if err := cfg.Complete(); err != nil || cfg.Node == "" || net.ParseIP(cfg.Address) == nil {
		t.Errorf("the default: %v, node %q, address %q", err, cfg.Node, cfg.Address)
	}
}

// TestConfigText: what is printed reads back the same.
func TestConfigText(t *testing.T) {
	cfg := Default()
	b, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := yaml.UnmarshalStrict(b, &back); err != nil || !reflect.DeepEqual(back.Manager, cfg.Manager) || back.Agent.BackOffMin != cfg.Agent.BackOffMin {
		t.Errorf("%v: %+v", err, back)
	}
}

func TestReservedPorts(t *testing.T) {
	cfg := Default()
	if got := cfg.ports(); len(got) != 4 || got[0] != 6443 {
		t.Errorf("%v", got)
	}
	if got := cfg.serviceAddress(10).String(); got != "10.96.0.10" {
		t.Errorf("%s", got)
	}
}

// TestLock: one process a root; the second is told who has it.
func TestLock(t *testing.T) {
	root := filepath.Join(t.TempDir(), "r")
	if Pid(root) != 0 {
		t.Error("a root that is not there has a process")
	}
	unlock, err := lock(root)
	if err != nil {
		t.Fatal(err)
	}
	if got := Pid(root); got != os.Getpid() {
		t.Errorf("pid %d", got)
	}
	if _, err := lock(root); !kind.Is(err, kind.Exists) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), "trireme down") {
		t.Errorf("a second process: %v", err)
	}
	unlock()
	if Pid(root) != 0 {
		t.Error("the lock outlived its holder")
	}
}

func TestListenSaysWhoHasThePort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := listen("the API", "--api-listen", l.Addr().String()); !kind.Is(err, kind.Exists) || !strings.Contains(err.Error(), "--api-listen") {
		t.Errorf("%v", err)
	}
}

// TestToken: made once, read after that, and never replaced when it is damaged.
func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	digest := strings.Repeat("a", 64)
	first, err := loadToken(path, wire.NewToken(digest, false))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := loadToken(path, wire.NewToken(digest, false)); err != nil || again != first {
		t.Errorf("%v, %v", again, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the token's mode is %v, %v", st.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadToken(path, wire.NewToken(digest, false)); !kind.Is(err, kind.Invalid) {
		t.Errorf("a damaged token: %v", err)
	}
}

// TestTokenRotates: another token takes the place of the first, also after a restart.
func TestTokenRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	j, err := openToken(path, strings.Repeat("a", 64), false)
	if err != nil {
		t.Fatal(err)
	}
	first := j.Token()
	if err := j.Rotate(); err != nil {
		t.Fatal(err)
	}
	again, err := openToken(path, strings.Repeat("a", 64), false)
	if err != nil || again.Token() != j.Token() || again.Token() == first || again.Token().Digest != first.Digest {
		t.Errorf("%v: %v after %v, on disk %v", err, j.Token(), first, again.Token())
	}
}

// TestIdentity: what a node joined with is found again.
func TestIdentity(t *testing.T) {
	pki, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.Issue(wire.Leaf{Name: wire.NodePrefix + "n", Group: wire.NodesGroup})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "pki")
	if err := saveIdentity(dir, cert, cert.Certificate[1]); err != nil {
		t.Fatal(err)
	}
	back, pool, err := loadIdentity(dir)
	if err != nil || pool == nil || back.Leaf.Subject.CommonName != "system:node:n" {
		t.Errorf("%v: %+v", err, back.Leaf)
	}
	if st, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", st.Mode(), err)
	}
}
