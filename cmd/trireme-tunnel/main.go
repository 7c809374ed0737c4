// Command trireme-tunnel carries the packets of a node's encrypted overlay: WireGuard
// (golang.zx2c4.com/wireguard) on the TUN link that the node's agent made. It is told its
// key and its peers by package tunnel, goes on when the agent ends, and ends when its
// link does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"trireme/internal/socket"
)

// heapPercent keeps the heap, which is mostly buffers, small.
const heapPercent = 40

func main() { os.Exit(run()) }

func run() int {
	link := flag.String("link", "", "the TUN link")
	path := flag.String("socket", "", "where to be told keys and peers")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if *link == "" || *path == "" {
		log.Error("no link or no socket given: --link, --socket")
		return 2
	}
	debug.SetGCPercent(heapPercent)
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP) // of the terminal of whoever started it
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *link, *path, log); err != nil {
		log.Error("the tunnel ends", "err", err)
		return 1
	}
	return 0
}

// serve carries packets until ctx ends or the link does.
func serve(ctx context.Context, name, path string, log *slog.Logger) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("finding link %s: %w", name, err)
	}
	t, err := tun.CreateTUN(name, link.MTU)
	if err != nil {
		return fmt.Errorf("opening link %s: %w", name, err)
	}
	say := func(format string, args ...any) { log.Error(fmt.Sprintf(format, args...)) }
	d := device.NewDevice(t, conn.NewDefaultBind(), &device.Logger{Verbosef: device.DiscardLogf, Errorf: say})
	defer d.Close()
	l, err := socket.Listen(path)
	if err != nil {
		return err
	}
	defer l.Close()
	told := make(chan struct{}, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go hasten(ctx, d, told)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					log.Error("listening", "err", err)
				}
				d.Close()
				return
			}
			go func() {
				d.IpcHandle(c)
				select {
				case told <- struct{}{}:
				default:
				}
			}()
		}
	}()
	select {
	case <-ctx.Done():
	case <-d.Wait():
	}
	return nil
}
