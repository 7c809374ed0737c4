package link

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
)

// inside calls f on a thread that is in the namespace.
func inside(ns netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	own, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening this thread's network namespace: %w", err)
	}
	defer own.Close()
	if own.Equal(ns) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := netns.Set(ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	err = f()
	if back := netns.Set(own); back == nil {
		runtime.UnlockOSThread() // else the thread ends with its goroutine
	}
	return err
}

// Sysctl reads a setting of the namespace, "net/ipv4/ip_forward", and writes it
// if it differs; it returns what it was.
func (l *Links) Sysctl(name, value string) (was string, err error) {
	path := filepath.Join("/proc/sys", name)
	err = l.Do(func() error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if was = strings.TrimSpace(string(b)); was == value {
			return nil
		}
		return os.WriteFile(path, []byte(value), 0o644)
	})
	if err != nil {
		return was, fmt.Errorf("setting %s to %s: %w", name, value, err)
	}
	return was, nil
}

// KeepAdvertisements has links go on taking routes from routers' advertisements, which
// they would stop to do once the host forwards IPv6 (kernel, ip-sysctl, accept_ra).
func (l *Links) KeepAdvertisements() error {
	return l.Do(func() error {
		files, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
		if err != nil {
			return err
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err == nil && strings.TrimSpace(string(b)) == "1" {
				err = os.WriteFile(f, []byte("2"), 0o644)
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) { // a link that went meanwhile
				return fmt.Errorf("keeping router advertisements: %w", err)
			}
		}
		return nil
	})
}
