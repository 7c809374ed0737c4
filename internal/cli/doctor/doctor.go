// Package doctor checks whether this machine can be a manager and a node, and says what
// to do where it cannot. It changes nothing.
package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"trireme/internal/dataplane"
	"trireme/internal/server"
)

// Finding is what one check found. Remedy is empty where all is well.
type Finding struct {
	Check  string `json:"check"`
	State  string `json:"state"` // OK, Warning, Failed
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"`
}

// The states of findings.
const (
	OK      = "ok"
	Warning = "warning"
	Failed  = "failed"
)

// Check returns what each check found for a machine of that configuration.
func Check(cfg *server.Config) (all []Finding) {
	for _, check := range []func(*server.Config) []Finding{
		checkRoot, checkKernel, checkCgroups, checkFilesystem, checkNftables, checkTunnel, checkPorts, checkMemory, checkClock,
	} {
		all = append(all, check(cfg)...)
	}
	return all
}

func ok(check, found string) []Finding { return []Finding{{check, OK, found, ""}} }

func bad(state, check, found, remedy string) []Finding {
	return []Finding{{check, state, found, remedy}}
}

func checkRoot(*server.Config) []Finding {
	if os.Geteuid() != 0 {
		return bad(Failed, "user", "not root", "run as root: a node makes namespaces, mounts and links")
	}
	return ok("user", "root")
}

func checkKernel(*server.Config) []Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return bad(Failed, "kernel", err.Error(), "a Linux kernel 5.4 or later is needed")
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err == nil && (major < 5 || (major == 5 && minor < 4)) {
		return bad(Failed, "kernel", release, "a kernel 5.4 or later is needed")
	}
	found := ok("kernel", release)
	for _, ns := range []string{"mnt", "net", "pid", "ipc", "uts"} {
		if _, err := os.Stat("/proc/self/ns/" + ns); err != nil {
			found = append(found, bad(Failed, "namespaces", "no "+ns+" namespaces", "boot a kernel with CONFIG_NAMESPACES")...)
		}
	}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil || !strings.Contains(string(b), "overlay") {
		found = append(found, bad(Failed, "overlayfs", "not there", "modprobe overlay")...)
	}
	return found
}

func checkCgroups(*server.Config) []Finding {
	const root = "/sys/fs/cgroup"
	if b, err := os.ReadFile(root + "/cgroup.controllers"); err == nil {
		for _, c := range []string{"cpu", "memory", "pids"} {
			if !strings.Contains(" "+string(b)+" ", c) {
				return bad(Failed, "cgroups", "v2 without controller "+c, "boot with cgroup_enable="+c)
			}
		}
		return ok("cgroups", "v2: "+strings.TrimSpace(string(b)))
	}
	for _, c := range []string{"cpu", "memory", "pids"} {
		if _, err := os.Stat(filepath.Join(root, c)); err != nil {
			return bad(Failed, "cgroups", "no controller "+c+" below "+root, "mount it: mount -t cgroup2 none "+root+", or the v1 controller "+c)
		}
	}
	return ok("cgroups", "v1")
}

const (
	diskWantBytes   = 2 << 30
	memoryWantBytes = 512 << 20
)

func checkFilesystem(cfg *server.Config) []Finding {
	dir := cfg.Root
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return bad(Failed, "disk", err.Error(), "choose another --root")
	}
	free := int64(st.Bavail) * st.Bsize
	there := fmt.Sprintf("%d MiB free at %s", free>>20, dir)
	if free < diskWantBytes {
		return bad(Failed, "disk", there, "free some: 2 GiB are needed for images and the store, or choose another --root")
	}
	if st.Ffree > 0 && st.Ffree < 10000 {
		return bad(Failed, "disk", strconv.FormatUint(st.Ffree, 10)+" inodes free at "+dir, "remove files or choose another --root")
	}
	return ok("disk", there)
}

func checkNftables(*server.Config) []Finding {
	if err := dataplane.Check(); err != nil {
		return bad(Failed, "nftables", err.Error(), "modprobe nf_tables nft_nat nft_masq vxlan; and run as root")
	}
	return ok("nftables", "maps, nat and masquerade work")
}

func checkTunnel(cfg *server.Config) []Finding {
	if err := dataplane.CheckEncryption(); err != nil {
		state := Warning
		if e := cfg.Manager.EncryptOverlay; e != nil && *e {
			state = Failed
		}
		return bad(state, "encryption", err.Error(), "modprobe tun, or leave --encrypt-overlay out")
	}
	return ok("encryption", "TUN links work")
}

func checkPorts(cfg *server.Config) []Finding {
	if pid := server.Pid(cfg.Root); pid != 0 {
		return ok("ports", "in use by the cluster itself, process "+strconv.Itoa(pid))
	}
	var all []Finding
	for _, p := range []struct{ addr, flag string }{
		{cfg.Manager.APIListen, "--api-listen"}, {cfg.Manager.AgentListen, "--agent-listen"}, {cfg.Agent.Listen, "--listen"},
	} {
		l, err := net.Listen("tcp", p.addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			all = append(all, bad(Failed, "port "+p.addr, "taken", "stop what has it (ss -ltnp shows it), or choose another with "+p.flag)...)
			continue
		}
		if err != nil {
			all = append(all, bad(Failed, "port "+p.addr, err.Error(), "choose another with "+p.flag)...)
			continue
		}
		l.Close()
	}
	if len(all) == 0 {
		return ok("ports", "free")
	}
	return all
}

func checkMemory(*server.Config) []Finding {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		return bad(Warning, "memory", err.Error(), "")
	}
	total := int64(s.Totalram) * int64(s.Unit)
	found := fmt.Sprintf("%d MiB, %d CPUs", total>>20, runtime.NumCPU())
	if total < memoryWantBytes {
		return bad(Warning, "memory", found, "512 MiB or more are wanted")
	}
	return ok("memory", found)
}

// checkClock looks for a clock that certificates will not survive: one that is
// far off, or that nothing keeps right.
func checkClock(*server.Config) []Finding {
	now := time.Now()
	if now.Year() < 2025 {
		return bad(Failed, "clock", now.Format(time.RFC3339), "set it: certificates would not be valid")
	}
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err == nil && state == unix.TIME_ERROR {
		return bad(Warning, "clock", now.Format(time.RFC3339)+", not synchronised", "run an NTP client where the cluster has several machines")
	}
	return ok("clock", now.Format(time.RFC3339))
}
