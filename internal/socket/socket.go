// Package socket is how processes of a node that outlive the agent are spoken to.
package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// Listen makes the socket appear at once, for root alone, over one that a killed process
// left.
func Listen(path string) (*net.UnixListener, error) {
	tmp := path + "~"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, path)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
