// Package execs keeps the commands that clients of docker's run in containers: in the
// manager's memory, bounded in number and time.
//
// It is not for running them (packages docker and remote). A Store and what it keeps may
// be used by any number of goroutines.
//
// How to debug: `docker inspect --format '{{.ExecIDs}}' NAME`.
package execs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"k8s.io/client-go/tools/remotecommand"

	"trireme/internal/api/docker/stream"
	"trireme/internal/api/docker/view"
	"trireme/internal/kind"
)

const (
	keptMax = 4096
	kept    = 10 * time.Minute // after its end, or when it is never started
)

// Exec is a command that a client wants run in a container.
type Exec struct {
	ID   string
	In   *view.Container
	Want container.ExecCreateRequest

	mu      sync.Mutex
	since   time.Time // it was made, or has ended
	started bool
	running bool
	code    *int
	size    remotecommand.TerminalSize // as it was last said
	term    *stream.Terminal           // while it runs on one
}

// NewID returns 64 digits, as docker makes them.
func NewID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return hex.EncodeToString(b[:])
}

// Begin reports whether the command may be started: once.
func (x *Exec) Begin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	again := x.started
	x.started, x.running = true, x.running || !again
	return !again
}

// Finish notes the command's end.
func (x *Exec) Finish(code int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running, x.code, x.since, x.term = false, &code, time.Now(), nil
}

// Terminal returns the one that the command runs on until ctx ends.
func (x *Exec) Terminal(ctx context.Context) *stream.Terminal {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.term = stream.NewTerminal(ctx)
	if x.size.Width > 0 {
		x.term.Resize(x.size)
	}
	return x.term
}

// Resize sets the size of the command's terminal, now or when it has one.
func (x *Exec) Resize(size remotecommand.TerminalSize) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.size = size
	if x.term != nil {
		x.term.Resize(size)
	}
}

// become runs a command as another user, by what the image has for that: root may become
// anybody, others only who they are. Each program is tried first: it may be an older one.
const become = `u=$0
[ "$u" = "$(id -u)" ] || [ "$u" = "$(id -un 2>/dev/null)" ] && exec "$@"
if [ "$(id -u)" != 0 ]; then echo "docker exec --user $u: the container runs as user $(id -u), and only root becomes another" >&2; exit 126; fi
su-exec "$u" true 2>/dev/null && exec su-exec "$u" "$@"
gosu "$u" true 2>/dev/null && exec gosu "$u" "$@"
chroot --skip-chdir --userspec="$u" / true 2>/dev/null && exec chroot --skip-chdir --userspec="$u" / "$@"
p=$(which "$1") || { echo "exec: $1: executable file not found" >&2; exit 127; }
shift
start-stop-daemon -S -q -c "$u" -p /nonexistent -x "$(which true)" 2>/dev/null && exec start-stop-daemon -S -q -c "$u" -p /nonexistent -x "$p" -- "$@"
echo "docker exec --user $u: there is no such user, or the image has no su-exec, gosu, chroot (coreutils) or start-stop-daemon to become it: run the container with --user $u" >&2
exit 126`

// Command returns what is run: the user, variables and the folder are set by the image's
// own programs.
func (x *Exec) Command() []string {
	cmd := x.Want.Cmd
	if x.Want.User != "" {
		cmd = slices.Concat([]string{"sh", "-c", become, x.Want.User}, cmd)
	}
	if len(x.Want.Env) > 0 {
		cmd = slices.Concat([]string{"env"}, x.Want.Env, cmd)
	}
	if x.Want.WorkingDir != "" {
		cmd = slices.Concat([]string{"sh", "-c", `cd -- "$0" && exec "$@"`, x.Want.WorkingDir}, cmd)
	}
	return cmd
}

// Inspect returns how it stands.
func (x *Exec) Inspect() container.ExecInspectResponse {
	x.mu.Lock()
	defer x.mu.Unlock()
	return container.ExecInspectResponse{
		ID: x.ID, Running: x.running, ExitCode: x.code, ContainerID: x.In.ID, CanRemove: !x.running,
		OpenStdin: x.Want.AttachStdin, OpenStdout: x.Want.AttachStdout, OpenStderr: x.Want.AttachStderr,
		ProcessConfig: &container.ExecProcessConfig{Tty: x.Want.Tty, Entrypoint: x.Want.Cmd[0], Arguments: x.Want.Cmd[1:]},
	}
}

func (x *Exec) old(now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.running && now.Sub(x.since) > kept
}

// Store keeps commands. The zero value is ready.
type Store struct {
	mu  sync.Mutex
	all map[string]*Exec
}

// Add keeps one, and forgets those whose time has come.
func (s *Store) Add(x *Exec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.since = time.Now()
	for id, other := range s.all {
		if other.old(x.since) {
			delete(s.all, id)
		}
	}
	if len(s.all) >= keptMax {
		return kind.New(kind.Unavailable, "%d commands run or ended less than %s ago: wait until some have been forgotten", keptMax, kept)
	}
	if s.all == nil {
		s.all = map[string]*Exec{}
	}
	s.all[x.ID] = x
	return nil
}

// Find returns the command of an id.
func (s *Store) Find(id string) (*Exec, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, ok := s.all[id]; ok {
		return x, nil
	}
	return nil, kind.New(kind.NotFound, "No such exec instance: %s: this manager has not made it, or has forgotten it", id)
}

// Of returns the ids of what runs in a container, in order.
func (s *Store) Of(container string) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, x := range s.all {
		if x.In.ID == container && x.Inspect().Running {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
