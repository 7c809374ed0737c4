package shim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Dir is the folder of the runtime native below a node's state root.
type Dir string

// DirOf returns the folder below a node's state root.
func DirOf(root string) Dir { return Dir(filepath.Join(root, "native")) }

func (d Dir) in(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// The places below the folder. Socket must not be longer than 107 bytes.

// Socket is where the shim listens.
func (d Dir) Socket() string { return d.in("shim.sock") }

// Log is where the shim's own messages go.
func (d Dir) Log() string { return d.in("shim.log") }

// RuntimeRoot is the OCI runtime's state folder.
func (d Dir) RuntimeRoot() string { return d.in("runtime") }

// Container is a container's folder, which is its OCI bundle too.
func (d Dir) Container(id string, elem ...string) string {
	return d.in(append([]string{"containers", id}, elem...)...)
}

// Sandbox is a sandbox's folder.
func (d Dir) Sandbox(id string, elem ...string) string {
	return d.in(append([]string{"sandboxes", id}, elem...)...)
}

func (d Dir) lock() string { return d.in("shim.lock") }
func (d Dir) tmp() string  { return d.in("t") }

// Record is what the shim must know of a container.
type Record struct {
	Runtime   string `json:"runtime"` // path of crun or runc
	LogPath   string `json:"logPath"` // in the CRI format; empty: output is dropped
	TTY       bool   `json:"tty,omitempty"`
	Stdin     bool   `json:"stdin,omitempty"`
	StdinOnce bool   `json:"stdinOnce,omitempty"`
	// Cgroups are the container's own groups, absolute, one a hierarchy.
	Cgroups []string `json:"cgroups"`
	// OwnProcesses: its processes end with its first one, by the kernel.
	OwnProcesses bool `json:"ownProcesses"`
}

// State is a container that was started.
type State struct {
	Pid     int       `json:"pid"`
	Start   uint64    `json:"start"` // field 22 of /proc/PID/stat: tells reused numbers
	Boot    string    `json:"boot"`
	Started time.Time `json:"started"`
}

// Exit is how a container ended.
type Exit struct {
	Code     int32     `json:"code"` // 128 + the signal where one ended it
	OOM      bool      `json:"oom,omitempty"`
	Unknown  bool      `json:"unknown,omitempty"` // nobody saw it end; Code is 255
	Finished time.Time `json:"finished"`
}

// The names of the files above in a container's folder.
const (
	RecordFile = "record.json"
	StateFile  = "state.json"
	ExitFile   = "exit.json"
	ConfigFile = "config.json"
)

// unknownCode is the exit code of a container that nobody saw end, as
// containerd has it.
const unknownCode = 255

// Read decodes one of the files; the error of a missing one is fs.ErrNotExist.
func Read[T any](path string) (v T, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("reading %s: %w", path, err)
	}
	return v, nil
}

// Write replaces the file at once: a reader sees the old one or the new one. It
// does not wait for the disk: a crash of the machine ends the containers too.
func Write(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// BootID names this boot; empty where the kernel does not say.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// stat reads what is needed of /proc/PID/stat: the state letter, the start time
// in ticks and, of a zombie, the wait status. ok is false if there is no such
// process.
func stat(pid int) (state byte, start uint64, status int, ok bool) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, 0, false
	}
	text := string(b)
	// The name, field 2, is in parentheses and may hold anything.
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 50 { // field n of proc_pid_stat(5) is f[n-3]
		return 0, 0, 0, false
	}
	start, err = strconv.ParseUint(f[22-3], 10, 64)
	if err != nil {
		return 0, 0, 0, false
	}
	status, err = strconv.Atoi(f[52-3])
	return f[0][0], start, status, err == nil
}

// Alive reports whether the process of a started container is there; one that
// ended and was not reaped is not.
func (s State) Alive() bool {
	state, start, _, ok := stat(s.Pid)
	return ok && s.Boot == BootID() && start == s.Start && state != 'Z' && state != 'X'
}
