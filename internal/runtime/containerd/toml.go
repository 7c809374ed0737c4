package containerd

import (
	"bytes"
	"fmt"
	"strconv"
	"text/template"

	"golang.org/x/sys/unix"
)

// configTemplate is containerd's configuration, version 4. What is not named is
// containerd's default. Why each line:
//
//   - disabled plugins: what a node of ours never uses costs memory and start time.
//   - NRI and CRIU off: nothing here speaks to them.
//   - containerd and its shims are the last to be killed when memory runs out,
//     where we have the right to say so.
//   - runc's own state goes below our root, so that nodes on one machine do not
//     meet and Teardown finds all of it.
//   - apparmor off and the OOM score restricted: both need rights that a node in
//     a container or a test does not have.
//   - network namespaces are bound below our state folder, and the loopback
//     device is brought up without a plugin's process.
//   - the hugetlb controller is tolerated missing.
//   - statistics every 10 s instead of every second: one call a shim each time.
//   - streaming listens on this node's loopback only; the agent is its only client.
//   - the output of an ended exec is waited for 2 s: a background child that
//     keeps the pipe open must not hold up a probe.
const configTemplate = `version = 4
root = {{q .Root}}
state = {{q .State}}
oom_score = {{.OOMScore}}
disabled_plugins = [
  "io.containerd.nri.v1.nri",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.differ.v1.erofs",
  "io.containerd.monitor.container.v1.restart",
]

[debug]
  level = "warn"

[plugins."io.containerd.server.v1.grpc"]
  address = {{q .Socket}}

[plugins."io.containerd.server.v1.ttrpc"]
  address = {{q .TTRPC}}

[plugins."io.containerd.shim.v1.manager"]
  socket_dir = {{q .Sockets}}

[plugins."io.containerd.internal.v1.opt"]
  path = {{q .Opt}}

[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_downloads = 4

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  stats_collect_period = 10
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = {{q .Pause}}
  {{- if .RegistryDir}}
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = {{q .RegistryDir}}
  {{- end}}

[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  enable_criu = false
  stats_collect_period = "10s"
  stats_retention_period = "1m"
  drain_exec_sync_io_timeout = "2s"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [{{range $i, $dir := .CNIBinDirs}}{{if $i}}, {{end}}{{q $dir}}{{end}}]
    conf_dir = {{q .CNIConfDir}}
    use_internal_loopback = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = {{q .Shim}}
      disable_pause_image_pull = true
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = {{q .Runc}}
        Root = {{q .RuncRoot}}
        SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri"]
  disable_tcp_service = false
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  stream_idle_timeout = "4h0m0s"
`

// render returns the configuration file's text.
func (c *Config) render() ([]byte, error) {
	d := dirs(c.Root)
	t, err := template.New("config").Funcs(template.FuncMap{"q": strconv.Quote}).Parse(configTemplate)
	if err != nil {
		return nil, fmt.Errorf("parsing the configuration template: %w", err)
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Root": d.root(), "State": d.state(), "OOMScore": oomScore(),
		"Socket": d.socket(), "TTRPC": d.ttrpc(), "Sockets": d.sockets(), "Opt": d.in("opt"),
		"Pause": c.PauseImage, "RegistryDir": c.RegistryDir,
		"CNIBinDirs": c.CNIBinDirs, "CNIConfDir": c.CNIConfDir,
		"Shim": c.binary("containerd-shim-runc-v2"), "Runc": c.binary("runc"), "RuncRoot": d.runc(),
	})
	if err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	return b.Bytes(), nil
}

// oomScore is containerd's oom_score_adj; 0, no change, without CAP_SYS_RESOURCE.
func oomScore() int {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&head, &data[0]) != nil || data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		return 0
	}
	return -999
}
