package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/test/cluster"
)

// secret is what pods tell each other, and nobody on the wire may read.
const secret = "the-geese-of-the-capitol-are-awake"

// TestEncrypted: what pods of different machines say to each other is not to be read on
// the wire, whatever fails; without encryption the same capture reads it.
func TestEncrypted(t *testing.T) {
	s := newScene(t, 3)
	s.mustRead("before encryption", true)

	manager := s.hosts[0]
	s.must(manager.Kill())
	s.must(manager.Start("up", "--grace", "3s", "--encrypt-overlay"))
	s.must(manager.Ready(t.Context()))
	await(t, manager, 20*time.Second, "every node has a key", func() error {
		out, err := manager.Kubectl(t.Context(), "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.annotations.trireme\.dev/overlay-key}{"\n"}{end}`)
		if n := len(strings.Fields(out)); err == nil && n != len(s.hosts) {
			err = fmt.Errorf("%d nodes have one", n)
		}
		return err
	})
	s.recovers("encryption", time.Now())
	s.mustRead("encrypted", false)

	h := s.hosts[1]
	s.fails("the tunnel's process is killed", func() { s.must(killTunnel(h)) })
	shows := func() string {
		return s.k.must("get", "node", h.Name, "-o", `jsonpath={.metadata.annotations.trireme\.dev/overlay-key}`)
	}
	old := shows()
	s.fails("a node's key is replaced", func() {
		s.k.must("annotate", "node", h.Name, "--overwrite", "trireme.dev/rotate-overlay-key="+time.Now().Add(time.Second).UTC().Format(time.RFC3339))
		await(t, manager, 20*time.Second, "the node has another key", func() error {
			if shows() == old {
				return fmt.Errorf("it is still %s", old)
			}
			return nil
		})
	})
	s.agentKilled(h)
	s.mustRead("after the agent was killed", false)
	s.fails("a machine loses its power", func() { s.reboot(s.hosts[2], true) })
}

// fails has something happen while pods talk; nothing is to be read, and afterwards
// everything is as before.
func (s *scene) fails(what string, happen func()) {
	s.t.Helper()
	p, err := s.c.Capture(secret)
	s.must(err)
	ctx, cancel := context.WithCancel(s.t.Context())
	talk := make(chan struct{})
	go func() {
		defer close(talk)
		for ctx.Err() == nil {
			_ = s.talk(ctx) // it may fail now
		}
	}()
	happen()
	s.recovers(what, time.Now())
	cancel()
	<-talk
	s.read(p, what, false)
}

// mustRead has pods talk and says whether the wire tells what they say.
func (s *scene) mustRead(what string, open bool) {
	s.t.Helper()
	p, err := s.c.Capture(secret)
	s.must(err)
	s.must(s.talk(s.t.Context()))
	s.read(p, what, open)
}

func (s *scene) read(p *cluster.Capture, what string, open bool) {
	s.t.Helper()
	s.must(p.Close())
	with, all := p.Seen()
	s.t.Logf("%s: %d of %d packets on the wire tell the secret", what, with, all)
	if all == 0 || open != (with > 0) {
		s.t.Errorf("%s: %d of %d packets tell the secret; want some: %v", what, with, all, open)
	}
}

// talk has every pod tell the others the secret by TCP, by UDP, and as a question.
func (s *scene) talk(ctx context.Context) error {
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, from := range pods {
		for _, to := range pods {
			if from == to {
				continue
			}
			g.Go(func() error {
				if _, err := s.get(ctx, from.place, "http://"+to.ip+":8080/?"+secret); err != nil {
					return err
				}
				_, err := s.get(ctx, from.place, "http://"+s.address+":8088/?"+secret)
				return err
			})
			g.Go(func() error { return s.datagram(ctx, from, to) })
		}
	}
	return g.Wait()
}

// datagram sends the secret by UDP and waits until it has come.
func (s *scene) datagram(ctx context.Context, from, to webPod) error {
	var l net.PacketConn
	if err := to.place.Within(func() (err error) { l, err = net.ListenPacket("udp4", ":0"); return err }); err != nil {
		return err
	}
	defer l.Close()
	conn, err := from.place.Dial(ctx, "udp4", fmt.Sprintf("%s:%d", to.ip, l.LocalAddr().(*net.UDPAddr).Port))
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, secret); err != nil {
		return err
	}
	if err := l.SetReadDeadline(time.Now().Add(s.limit)); err != nil {
		return err
	}
	_, _, err = l.ReadFrom(make([]byte, len(secret)))
	return err
}

// killTunnel kills the process that encrypts for a host.
func killTunnel(h *cluster.Host) error {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(b), "trireme-tunnel") || !strings.Contains(string(b), h.Root+"/") {
			continue // it ended, or is another's
		}
		var pid int
		if _, err := fmt.Sscanf(p, "/proc/%d/", &pid); err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	return fmt.Errorf("no tunnel of %s was found", h.Name)
}
