package test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// flagCase is flags of docker service create or update, what the container does to show
// what they have come to, and the line that it shows.
type flagCase struct {
	flags []string
	shows string // a line of sh
	want  string // in the task's log
}

// createFlags are flags of docker service create. Those that only our own runtime keeps are
// in TestDockerFields, those of the loop in TestSemantics.
func createFlags(dir string) []flagCase {
	return []flagCase{
		{[]string{"--env", "COLOUR=blue"}, "echo colour $COLOUR", "colour blue"},
		{[]string{"--env-file", filepath.Join(dir, "env")}, "echo file $SHAPE", "file round"},
		{[]string{"--workdir", "/tmp"}, "echo at $(pwd)", "at /tmp"},
		{[]string{"--user", "1000:1001"}, "echo as $(id -u):$(id -g)", "as 1000:1001"},
		{[]string{"--group", "2000"}, "echo groups $(id -G)", "2000"},
		{[]string{"--hostname", "host-{{.Task.Slot}}"}, "echo named $(hostname)", "named host-1"},
		{[]string{"--read-only"}, "touch /x 2>&1", "Read-only file system"},
		{[]string{"--mount", "type=tmpfs,target=/scratch,tmpfs-size=1m"}, "grep -o 'tmpfs /scratch tmpfs' /proc/mounts", "tmpfs /scratch tmpfs"},
		{[]string{"--mount", "type=bind,source=" + dir + ",target=/bound,readonly"}, "echo bound $(cat /bound/text); touch /bound/y 2>&1", "bound here"},
		{[]string{"--mount", "type=volume,source=dflags-volume,target=/kept"}, "echo volume $(ls -d /kept)", "volume /kept"},
		{[]string{"--secret", "source=dflags-secret,target=word,mode=0440"}, "echo secret $(stat -c %a /run/secrets/word)", "secret 440"},
		{[]string{"--config", "source=dflags-config,target=/etc/dflags"}, "echo config $(cat /etc/dflags)", "config said"},
		{[]string{"--host", "db.example:10.1.2.3"}, "grep db.example /etc/hosts", "10.1.2.3"},
		{[]string{"--dns", "10.9.9.9", "--dns-search", "example.org", "--dns-option", "ndots:2"}, "echo dns $(cat /etc/resolv.conf)", "dns search example.org nameserver 10.9.9.9 options ndots:2"},
		{[]string{"--cap-add", "NET_ADMIN", "--cap-drop", "CHOWN"}, "echo bounds $((0x$(awk '/CapBnd/ {print $2}' /proc/self/status) >> 12 & 1)):$((0x$(awk '/CapBnd/ {print $2}' /proc/self/status) & 1))", "bounds 1:0"},
		{[]string{"--sysctl", "net.ipv4.ip_local_port_range=2000 3000"}, "echo range $(cat /proc/sys/net/ipv4/ip_local_port_range)", "range 2000 3000"},
		{[]string{"--limit-memory", "64m", "--reserve-memory", "16m"}, "echo memory $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null)", "memory 67108864"},
		{[]string{"--limit-cpu", "0.5", "--reserve-cpu", "0.01"}, "echo cpu $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null)", "cpu 50000"},
		{[]string{"--network", "name=dflags-net,alias=dflags-alias"}, "echo link $(ls /sys/class/net | tr '\\n' ' ')", "net1"},
		{[]string{"--health-cmd", "true", "--health-interval", "1s", "--health-timeout", "5s", "--health-retries", "2", "--health-start-period", "1s"}, "echo healthy", "healthy"},
		{[]string{"--label", "tier=front", "--container-label", "part=web", "--log-driver", "json-file", "--stop-grace-period", "1s", "--restart-condition", "on-failure", "--restart-delay", "1s",
			"--restart-max-attempts", "3", "--restart-window", "60s", "--constraint", "node.role==manager", "--placement-pref", "spread=node.labels.zone", "--replicas-max-per-node", "2",
			"--update-parallelism", "2", "--update-delay", "0s", "--update-monitor", "500ms", "--update-failure-action", "pause", "--update-max-failure-ratio", "0.5", "--update-order", "stop-first",
			"--rollback-parallelism", "2", "--rollback-delay", "0s", "--rollback-monitor", "500ms", "--rollback-failure-action", "pause", "--rollback-max-failure-ratio", "0.5", "--rollback-order", "stop-first",
			"--publish", "published=8121,target=8080", "--publish", "published=8122,target=8080,mode=host", "--endpoint-mode", "vip", "--replicas", "1", "--entrypoint", "/bin/sh"}, "echo runs", "runs"},
	}
}

// updateFlags are flags of docker service update, on what createFlags have made.
func updateFlags() []flagCase {
	return []flagCase{
		{[]string{"--env-add", "COLOUR=red", "--env-rm", "SHAPE"}, "echo colour $COLOUR shape $SHAPE.", "colour red shape ."},
		{[]string{"--workdir", "/"}, "echo at $(pwd)", "at /"},
		{[]string{"--user", "0"}, "echo as $(id -u)", "as 0"},
		{[]string{"--group-rm", "2000", "--group-add", "3000"}, "echo groups $(id -G).", "3000."},
		{[]string{"--hostname", "second"}, "echo named $(hostname)", "named second"},
		{[]string{"--read-only=false"}, "touch /x && echo written", "written"},
		{[]string{"--mount-rm", "/scratch", "--mount-add", "type=tmpfs,target=/other"}, "echo mounts $(grep -c -e ' /scratch ' /proc/mounts):$(grep -c ' /other ' /proc/mounts)", "mounts 0:1"},
		{[]string{"--secret-rm", "dflags-secret", "--secret-add", "source=dflags-secret,target=other"}, "echo secrets $(ls /run/secrets)", "secrets other"},
		{[]string{"--config-rm", "dflags-config", "--config-add", "source=dflags-config,target=/etc/again"}, "echo configs $(ls /etc/dflags /etc/again 2>/dev/null)", "configs /etc/again"},
		{[]string{"--host-rm", "db.example:10.1.2.3", "--host-add", "cache.example:10.3.2.1"}, "echo hosts $(grep -c db.example /etc/hosts):$(grep -c cache.example /etc/hosts)", "hosts 0:1"},
		{[]string{"--dns-rm", "10.9.9.9", "--dns-add", "10.8.8.8", "--dns-search-rm", "example.org", "--dns-search-add", "example.net", "--dns-option-rm", "ndots:2", "--dns-option-add", "ndots:3"},
			"echo dns $(cat /etc/resolv.conf)", "dns search example.net nameserver 10.8.8.8 options ndots:3"},
		{[]string{"--cap-drop", "NET_ADMIN"}, "echo bounds $((0x$(awk '/CapBnd/ {print $2}' /proc/self/status) >> 12 & 1))", "bounds 0"},
		{[]string{"--sysctl-rm", "net.ipv4.ip_local_port_range", "--sysctl-add", "net.ipv4.ip_unprivileged_port_start=100"}, "echo start $(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)", "start 100"},
		{[]string{"--limit-memory", "96m", "--reserve-memory", "8m", "--limit-cpu", "0.25", "--reserve-cpu", "0"}, "echo memory $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null)", "memory 100663296"},
		{[]string{"--network-rm", "dflags-net"}, "echo links $(ls /sys/class/net | grep -c net1)", "links 0"},
		{[]string{"--no-healthcheck", "--image", busybox, "--entrypoint", "/bin/sh", "--label-rm", "tier", "--label-add", "tier=back", "--container-label-rm", "part", "--container-label-add", "part=api",
			"--constraint-rm", "node.role==manager", "--constraint-add", "node.platform.os==linux", "--placement-pref-rm", "spread=node.labels.zone", "--placement-pref-add", "spread=node.labels.rack",
			"--publish-rm", "published=8121,target=8080", "--publish-rm", "published=8122,target=8080,mode=host", "--publish-add", "published=8123,target=8080", "--replicas", "2", "--replicas-max-per-node", "3", "--stop-grace-period", "500ms", "--restart-condition", "any", "--force"},
			"echo again", "again"},
	}
}

// TestDockerFlags: docker's own client gives flags of service create and update; the
// container that runs shows what they have come to.
func TestDockerFlags(t *testing.T) {
	h := machine(t)
	d := newDocker(t, h)
	dir := t.TempDir()
	for name, text := range map[string]string{"env": "SHAPE=round\n", "text": "here", "secret": "hidden", "config": "said"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, err := d.h.Command(context.Background(), "sh", "-c", d.env[0]+" docker service ps --no-trunc dflags; "+d.env[0]+" docker service logs --raw dflags").CombinedOutput()
			t.Logf("%v: %s", err, out)
		}
		d.quietly("service", "rm", "dflags")
		for _, left := range [][]string{{"secret", "rm", "dflags-secret"}, {"config", "rm", "dflags-config"}, {"network", "rm", "dflags-net"}, {"volume", "rm", "dflags-volume"}} {
			d.quietly(left...)
		}
	})
	d.must("secret", "create", "dflags-secret", filepath.Join(dir, "secret"))
	d.must("config", "create", "dflags-config", filepath.Join(dir, "config"))
	d.must("network", "create", "--driver", "overlay", "dflags-net")
	script := func(cases []flagCase) (flags []string, text string) {
		var lines []string
		for _, c := range cases {
			flags, lines = append(flags, c.flags...), append(lines, c.shows)
		}
		return flags, strings.Join(append(lines, "trap 'exit 0' TERM; while :; do sleep 0.1; done"), "\n")
	}
	shown := func(cases []flagCase) {
		t.Helper()
		for _, c := range cases {
			d.says(c.want, "service", "logs", "--raw", "dflags")
		}
	}
	flags, text := script(createFlags(dir))
	d.must(append(append([]string{"service", "create", "--name", "dflags", "--no-resolve-image"}, flags...), busybox, "-c", text)...)
	shown(createFlags(dir))
	if out := d.must("ps", "--filter", "label=part=web", "--format", "{{.Names}}"); !strings.HasPrefix(out, "dflags.1.") {
		t.Errorf("docker ps by the container's label: %s", out)
	}
	flags, text = script(updateFlags())
	d.must(append(append([]string{"service", "update", "--detach", "--no-resolve-image", "--args", "-c '" + strings.ReplaceAll(text, "'", `'\''`) + "'"}, flags...), "dflags")...)
	d.says("completed", "service", "inspect", "dflags", "--format", "{{.UpdateStatus.State}}")
	shown(updateFlags())
	d.says("2/2", "service", "ls", "--filter", "label=tier=back", "--format", "{{.Replicas}}")
}
