package etcdlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"

	"trireme/internal/kind"
)

// errDied stands for an end of etcd's that is no return: see start.
var errDied = errors.New("etcd ended without a reason")

// errDiskFull marks the one fatal end that is no damage.
var errDiskFull = errors.New("the disk that holds the store is full: free some room and start again")

// start starts the member. Where the data is damaged etcd panics, here or in a
// goroutine of its own, or logs a fatal error, which ends the goroutine (see
// fatalHook): all become an error. The process is not fit for another try then.
func (l *Log) start() (*embed.Etcd, error) {
	if err := l.whole(); err != nil {
		return nil, err
	}
	type result struct {
		member *embed.Etcd
		err    error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errDied}
		defer func() {
			if p := recover(); p != nil {
				r.err = kind.New(kind.Internal, "the data is damaged, restore it from a backup: %v", p)
			}
			done <- r
		}()
		r.member, r.err = embed.StartEtcd(l.config())
	}()
	damaged := func(cause error) error {
		if errors.Is(cause, errDiskFull) {
			return cause
		}
		return fmt.Errorf("the data is damaged, restore it from a backup: %w", cause)
	}
	select {
	case cause := <-l.fatal: // etcd may wait for ever for the goroutine that ended
		return nil, damaged(cause)
	case r := <-done:
		select {
		case cause := <-l.fatal: // says more than the panic that may have followed
			return nil, damaged(cause)
		default:
			return r.member, r.err
		}
	}
}

// whole refuses a folder that holds a database without the log that goes with it.
// etcd would take it for a new member and wait for an election for ever.
func (l *Log) whole() error {
	member := filepath.Join(l.config().Dir, "member")
	if _, err := os.Stat(filepath.Join(member, "snap", "db")); err != nil {
		return nil // nothing there yet, or only the log, from which the rest is made again
	}
	logs, err := filepath.Glob(filepath.Join(member, "wal", "*.wal"))
	if err != nil {
		return err
	}
	if len(logs) == 0 {
		return kind.New(kind.Internal, "the data is damaged, restore it from a backup: %s holds a database but no log", member)
	}
	return nil
}
