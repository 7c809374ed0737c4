package dataplane

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/libcni"
	current "github.com/containernetworking/cni/pkg/types/100"
)

// The plugin that is bundled, driven by the library that container runtimes use.
func TestThePluginUnderLibcni(t *testing.T) {
	m := newWorld(t).node(1)
	dir := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "trireme-cni"), "../../cmd/trireme-cni")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the plugin: %v: %s", err, out)
	}
	if st, err := os.Stat(filepath.Join(dir, "trireme-cni")); err != nil || st.Size() > 4<<20 {
		t.Errorf("the plugin has %d bytes (%v), want at most 4 MiB", st.Size(), err)
	}
	conf, err := libcni.ConfListFromFile(confFile(m.root))
	must(t, err)
	c := libcni.NewCNIConfigWithCacheDir([]string{dir}, t.TempDir(), nil)
	must(t, c.GetStatusNetworkList(t.Context(), conf))

	p := m.pod("a", 2)
	rt := &libcni.RuntimeConf{
		ContainerID: p.id, NetNS: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(p.ns)), IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", p.Namespace}, {"K8S_POD_NAME", p.Name}, {"K8S_POD_UID", string(p.UID)}},
	}
	res, err := c.AddNetworkList(t.Context(), conf, rt)
	must(t, err)
	got, err := current.GetResult(res)
	must(t, err)
	if len(got.IPs) != 1 || got.IPs[0].Address.String() != p.addr.String()+"/32" || *got.IPs[0].Interface != 1 ||
		got.Interfaces[1].Name != "eth0" || got.Interfaces[1].Sandbox != rt.NetNS {
		t.Errorf("ADD answered %v", got)
	}
	sees(t, m.ns, p.addr.String()+":8080", "a", m.dp.links.Gateway(m.ip))
	must(t, c.CheckNetworkList(t.Context(), conf, rt))
	must(t, c.DelNetworkList(t.Context(), conf, rt))
	if err := c.CheckNetworkList(t.Context(), conf, rt); err == nil {
		t.Error("CHECK passes after DEL")
	}
	must(t, c.GCNetworkList(t.Context(), conf, &libcni.GCArgs{}))
}
