package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// plug connects the host's namespace, which it makes, to the wire.
func (h *Host) plug(ctx context.Context) error {
	h.port = h.patch()
	if err := ip(ctx,
		"netns add "+h.Name,
		"-n "+h.Name+" link set lo up",
		"-n "+h.Name+" link add eth0 type veth peer name "+h.port+" netns "+h.c.id,
		"-n "+h.Name+" addr add "+h.IPv6+"/64 dev eth0 nodad",
		"-n "+h.Name+" link set eth0 up",
		"-n "+h.c.id+" link set "+h.port+" master br0",
		"-n "+h.c.id+" link set "+h.port+" up"); err != nil {
		return err
	}
	if h.c.cfg.Family == IPv6 {
		return ip(ctx, "-n "+h.Name+" route add default via "+gateway6)
	}
	return ip(ctx,
		"-n "+h.Name+" addr add "+h.Address+"/24 dev eth0",
		"-n "+h.Name+" route add default via "+gateway)
}

// patch is the name of the host's end of the cable on the wire's side.
func (h *Host) patch() string { return fmt.Sprintf("p%d", h.i) }

// Cut takes the host's cable out of the switch: nothing comes through, and
// neither side is told.
func (h *Host) Cut(ctx context.Context) error {
	return ip(ctx, "-n "+h.c.id+" link set "+h.port+" nomaster")
}

// Mend puts the cable back.
func (h *Host) Mend(ctx context.Context) error {
	return ip(ctx, "-n "+h.c.id+" link set "+h.port+" master br0")
}

// Impairment is what a bad cable does to each frame, whichever way it goes.
type Impairment struct {
	Delay time.Duration
	Loss  float64 // the part of all frames that does not arrive, 0 to 1
}

// Impair makes the host's cable a bad one; the zero Impairment makes it a good
// one again. The kernel's netem is not everywhere, so a relay in this process
// passes the frames on.
func (h *Host) Impair(ctx context.Context, by Impairment) error {
	if err := h.repair(ctx); err != nil || by == (Impairment{}) {
		return err
	}
	// One cable becomes two, with the relay between them: p, then r and b. A relay
	// sees whole frames only if the kernel does not leave their cutting to a card.
	p, r, b := h.port, fmt.Sprintf("r%d", h.i), fmt.Sprintf("b%d", h.i)
	if err := ip(ctx,
		"-n "+h.Name+" link set eth0 gso_max_segs 1",
		"-n "+h.c.id+" link set "+p+" nomaster",
		"-n "+h.c.id+" link add "+r+" type veth peer name "+b,
		"-n "+h.c.id+" link set "+b+" gso_max_segs 1",
		"-n "+h.c.id+" link set "+r+" up",
		"-n "+h.c.id+" link set "+b+" master br0",
		"-n "+h.c.id+" link set "+b+" up"); err != nil {
		return err
	}
	h.port = b
	var err error
	h.relay, err = newRelay(h.c.Outside(), p, r, by)
	return err
}

// repair takes the relay out of the cable, if there is one.
func (h *Host) repair(ctx context.Context) error {
	if h.relay == nil {
		return nil
	}
	h.relay.stop()
	h.relay = nil
	b := h.port
	h.port = h.patch()
	return ip(ctx,
		"-n "+h.c.id+" link del "+b,
		"-n "+h.c.id+" link set "+h.port+" master br0",
		"-n "+h.Name+" link set eth0 gso_max_segs 65535")
}

// relay passes frames between two links.
type relay struct {
	by   Impairment
	ends [2]*os.File
	work sync.WaitGroup
}

func newRelay(at Place, a, b string, by Impairment) (*relay, error) {
	r := &relay{by: by}
	err := at.Within(func() (err error) {
		for i, name := range []string{a, b} {
			if r.ends[i], err = listenFrames(name); err != nil {
				return fmt.Errorf("listening on %s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		r.stop()
		return nil, err
	}
	r.pass(r.ends[0], r.ends[1])
	r.pass(r.ends[1], r.ends[0])
	return r, nil
}

func (r *relay) stop() {
	for _, f := range r.ends {
		if f != nil {
			f.Close() // readers return
		}
	}
	r.work.Wait()
}

// frame is one on its way. It begins with the kernel's note on what is missing of
// it, its checksum say, which goes on with it.
type frame struct {
	due  time.Time
	data []byte
}

const (
	frameMax = 1 << 16
	held     = 4096 // frames on their way; more are lost
)

func (r *relay) pass(from io.Reader, to io.Writer) {
	way := make(chan frame, held)
	r.work.Go(func() {
		defer close(way)
		buf := make([]byte, frameMax)
		for {
			n, err := from.Read(buf)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil || rand.Float64() < r.by.Loss { // a link that is down loses frames too
				continue
			}
			select {
			case way <- frame{time.Now().Add(r.by.Delay), append([]byte(nil), buf[:n]...)}:
			default:
			}
		}
	})
	r.work.Go(func() {
		timer := time.NewTimer(0)
		for f := range way {
			if wait := time.Until(f.due); wait > 0 {
				timer.Reset(wait)
				<-timer.C
			}
			_, _ = to.Write(f.data) // what does not go out is lost
		}
	})
}

// listenFrames opens a link of this thread's namespace: what comes in on it is
// read, what is written goes out.
func listenFrames(name string) (*os.File, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	for _, o := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1}, {unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8 << 20},
	} {
		if err == nil {
			err = unix.SetsockoptInt(fd, o.level, o.name, o.value)
		}
	}
	if err == nil {
		all := uint16(unix.ETH_P_ALL)
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: link.Index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
