package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Capture counts the packets on the wire between the hosts that hold a text.
type Capture struct {
	seen, all atomic.Int64
	stop      chan struct{}
	ended     chan error
}

// packetMax is the largest packet: links of one kernel pass on what no wire would.
const packetMax = 1 << 17

// Capture looks at all that hosts send and receive until Close.
func (c *Cluster) Capture(text string) (*Capture, error) {
	fd := -1
	err := c.Outside().Within(func() (err error) {
		const everything = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8 // in the network's order
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, everything)
		return err
	})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	}
	if err == nil {
		tick := unix.NsecToTimeval(int64(50 * time.Millisecond))
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tick)
	}
	if err != nil {
		return nil, fmt.Errorf("capturing on the wire: %w", err)
	}
	p := &Capture{stop: make(chan struct{}), ended: make(chan error, 1)}
	go func() { p.ended <- p.run(fd, []byte(text)) }()
	return p, nil
}

func (p *Capture) run(fd int, text []byte) error {
	defer unix.Close(fd)
	buf := make([]byte, packetMax)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case err == nil:
			p.all.Add(1)
			if bytes.Contains(buf[:n], text) {
				p.seen.Add(1)
			}
			continue
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return err
		}
		select {
		case <-p.stop: // and nothing is left
			return nil
		default:
		}
	}
}

// Seen returns how many packets held the text, of how many.
func (p *Capture) Seen() (with, all int64) { return p.seen.Load(), p.all.Load() }

// Close ends the capture once all that was sent before has been looked at.
func (p *Capture) Close() error {
	close(p.stop)
	return <-p.ended
}
