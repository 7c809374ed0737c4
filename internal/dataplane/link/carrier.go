package link

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// settle has the kernel act at once on a link's carrier. It does so some
// milliseconds, at worst a second, after the other end came up, and until then
// drops what is sent: the first packet of a new pod would be lost. Asking for
// the link state by ethtool is what makes it (ethtool_op_get_link).
func (l *Links) settle(name string) error {
	err := l.Do(func() error {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		value := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_GLINK}
		request := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte // ifreq's union is 24 bytes
		}{data: unsafe.Pointer(&value)}
		copy(request.name[:unix.IFNAMSIZ-1], name)
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); e != 0 {
			return e
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("asking for the state of %s: %w", name, err)
	}
	return nil
}
