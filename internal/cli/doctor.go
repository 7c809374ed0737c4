package cli

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

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"trireme/internal/dataplane"
	"trireme/internal/server"
)

// finding is what one check found. Remedy is empty where all is well.
type finding struct {
	Check  string `json:"check"`
	State  string `json:"state"` // ok, warning, failed
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"`
}

const (
	stateOK      = "ok"
	stateWarning = "warning"
	stateFailed  = "failed"
)

func (a *app) doctorCommand() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this machine can be a manager and a node, and say what to do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.load(cmd.Flags()); err != nil {
				return err
			}
			return a.doctor(&o.cfg)
		},
	}
	o.flags(c.Flags())
	o.managerFlags(c.Flags())
	a.outputFlag(c)
	return c
}

func (a *app) doctor(cfg *server.Config) error {
	var all []finding
	for _, check := range []func(*server.Config) []finding{
		checkRoot, checkKernel, checkCgroups, checkFilesystem, checkNftables, checkTunnel, checkPorts, checkMemory, checkClock,
	} {
		all = append(all, check(cfg)...)
	}
	t := table{columns: []string{"CHECK", "STATE", "FOUND", "WHAT TO DO"}}
	failed := 0
	for _, f := range all {
		t.add(f.Check, f.State, f.Found, f.Remedy)
		if f.State == stateFailed {
			failed++
		}
	}
	if err := a.print(all, t); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d checks failed", failed)
	}
	return nil
}

func ok(check, found string) []finding { return []finding{{check, stateOK, found, ""}} }

func bad(state, check, found, remedy string) []finding {
	return []finding{{check, state, found, remedy}}
}

func checkRoot(*server.Config) []finding {
	if os.Geteuid() != 0 {
		return bad(stateFailed, "user", "not root", "run as root: a node makes namespaces, mounts and links")
	}
	return ok("user", "root")
}

func checkKernel(*server.Config) []finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return bad(stateFailed, "kernel", err.Error(), "a Linux kernel 5.4 or later is needed")
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err == nil && (major < 5 || (major == 5 && minor < 4)) {
		return bad(stateFailed, "kernel", release, "a kernel 5.4 or later is needed")
	}
	found := ok("kernel", release)
	for _, ns := range []string{"mnt", "net", "pid", "ipc", "uts"} {
		if _, err := os.Stat("/proc/self/ns/" + ns); err != nil {
			found = append(found, bad(stateFailed, "namespaces", "no "+ns+" namespaces", "boot a kernel with CONFIG_NAMESPACES")...)
		}
	}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil || !strings.Contains(string(b), "overlay") {
		found = append(found, bad(stateFailed, "overlayfs", "not there", "modprobe overlay")...)
	}
	return found
}

func checkCgroups(*server.Config) []finding {
	const root = "/sys/fs/cgroup"
	if b, err := os.ReadFile(root + "/cgroup.controllers"); err == nil {
		for _, c := range []string{"cpu", "memory", "pids"} {
			if !strings.Contains(" "+string(b)+" ", c) {
				return bad(stateFailed, "cgroups", "v2 without controller "+c, "boot with cgroup_enable="+c)
			}
		}
		return ok("cgroups", "v2: "+strings.TrimSpace(string(b)))
	}
	for _, c := range []string{"cpu", "memory", "pids"} {
		if _, err := os.Stat(filepath.Join(root, c)); err != nil {
			return bad(stateFailed, "cgroups", "no controller "+c+" below "+root, "mount it: mount -t cgroup2 none "+root+", or the v1 controller "+c)
		}
	}
	return ok("cgroups", "v1")
}

const (
	diskWantBytes   = 2 << 30
	memoryWantBytes = 512 << 20
)

func checkFilesystem(cfg *server.Config) []finding {
	dir := cfg.Root
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return bad(stateFailed, "disk", err.Error(), "choose another --root")
	}
	free := int64(st.Bavail) * st.Bsize
	if free < diskWantBytes {
		return bad(stateFailed, "disk", size(free)+" free at "+dir, "free some: 2 GiB are needed for images and the store, or choose another --root")
	}
	if st.Ffree > 0 && st.Ffree < 10000 {
		return bad(stateFailed, "disk", strconv.FormatUint(st.Ffree, 10)+" inodes free at "+dir, "remove files or choose another --root")
	}
	return ok("disk", size(free)+" free at "+dir)
}

func checkNftables(*server.Config) []finding {
	if err := dataplane.Check(); err != nil {
		return bad(stateFailed, "nftables", err.Error(), "modprobe nf_tables nft_nat nft_masq vxlan; and run as root")
	}
	return ok("nftables", "maps, nat and masquerade work")
}

func checkTunnel(cfg *server.Config) []finding {
	if err := dataplane.CheckEncryption(); err != nil {
		state := stateWarning
		if e := cfg.Manager.EncryptOverlay; e != nil && *e {
			state = stateFailed
		}
		return bad(state, "encryption", err.Error(), "modprobe tun, or leave --encrypt-overlay out")
	}
	return ok("encryption", "TUN links work")
}

func checkPorts(cfg *server.Config) []finding {
	if pid := server.Pid(cfg.Root); pid != 0 {
		return ok("ports", "in use by the cluster itself, process "+strconv.Itoa(pid))
	}
	var all []finding
	for _, p := range []struct{ addr, flag string }{
		{cfg.Manager.APIListen, "--api-listen"}, {cfg.Manager.AgentListen, "--agent-listen"}, {cfg.Agent.Listen, "--listen"},
	} {
		l, err := net.Listen("tcp", p.addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			all = append(all, bad(stateFailed, "port "+p.addr, "taken", "stop what has it (ss -ltnp shows it), or choose another with "+p.flag)...)
			continue
		}
		if err != nil {
			all = append(all, bad(stateFailed, "port "+p.addr, err.Error(), "choose another with "+p.flag)...)
			continue
		}
		l.Close()
	}
	if len(all) == 0 {
		return ok("ports", "free")
	}
	return all
}

func checkMemory(*server.Config) []finding {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		return bad(stateWarning, "memory", err.Error(), "")
	}
	total := int64(s.Totalram) * int64(s.Unit)
	found := fmt.Sprintf("%s, %d CPUs", size(total), runtime.NumCPU())
	if total < memoryWantBytes {
		return bad(stateWarning, "memory", found, "512 MiB or more are wanted")
	}
	return ok("memory", found)
}

// checkClock looks for a clock that certificates will not survive: one that is
// far off, or that nothing keeps right.
func checkClock(*server.Config) []finding {
	now := time.Now()
	if now.Year() < 2025 {
		return bad(stateFailed, "clock", now.Format(time.RFC3339), "set it: certificates would not be valid")
	}
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err == nil && state == unix.TIME_ERROR {
		return bad(stateWarning, "clock", now.Format(time.RFC3339)+", not synchronised", "run an NTP client where the cluster has several machines")
	}
	return ok("clock", now.Format(time.RFC3339))
}
