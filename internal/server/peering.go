package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/internal/etcdlog"
	"trireme/internal/kind"
	"trireme/internal/server/front"
	"trireme/internal/wire"
)

// Where managers reach each other unless the configuration says otherwise, and unless another
// process has the port: then this one is alone.
const (
	defaultPeerListen  = ":6445" // the log's members
	defaultRelayListen = ":6446" // who knocked at a manager that does not lead
)

// The doors, as managers call them among each other.
const (
	apiDoor       = "kubernetes"
	agentsDoor    = "agents"
	dockerDoor    = "docker"
	dockerTLSDoor = "docker-tls"
	mesosDoor     = "mesos"
	marathonDoor  = "marathon"
	zookeeperDoor = "zookeeper"
)

// openFront takes the ports to other managers, and keeps all doors.
func (m *manager) openFront() error {
	c := &m.cfg.Manager
	peers, err := openPort(m.cfg.Log, "managers' log", "--peer-listen", c.PeerListen, defaultPeerListen)
	if err != nil {
		return err
	}
	relay, err := openPort(m.cfg.Log, "managers' relay", "--relay-listen", c.RelayListen, defaultRelayListen)
	if err != nil {
		return errors.Join(err, closeAny(peers))
	}
	if (peers == nil || relay == nil) && etcdlog.Several(m.cfg.path("etcd")) && !c.Alone {
		return errors.Join(closeAny(peers), closeAny(relay), kind.New(kind.Exists, "other managers must reach this one: free the ports 6445 and 6446, or choose others with --peer-listen and --relay-listen"))
	}
	if peers == nil || relay == nil {
		err = errors.Join(closeAny(peers), closeAny(relay))
		relay = nil
	} else {
		err = m.setPeering(peers, relay)
	}
	if err != nil {
		return err
	}
	cert, err := m.pki.Issue(wire.Leaf{Name: wire.ManagerName, Group: wire.MastersGroup, Hosts: m.hosts()})
	if err != nil {
		return err
	}
	m.front, err = front.New(front.Config{
		Relay: relay, Log: m.cfg.Log,
		Server: wire.ManagersOnly(wire.ServerTLS(cert, m.pki.Pool(), true)), Client: wire.ManagersOnly(wire.ClientTLS(cert, m.pki.Pool())),
	})
	if err != nil {
		return err
	}
	for name, l := range map[string]net.Listener{
		apiDoor: m.api, agentsDoor: m.agents, dockerDoor: m.docker, dockerTLSDoor: m.dockerTLS, mesosDoor: m.mesos, marathonDoor: m.marathon, zookeeperDoor: m.zookeeper,
	} {
		if l != nil {
			m.front.Keep(name, l)
		}
	}
	return nil
}

// setPeering says how the log's members reach each other. etcd opens the port itself, so it is
// let go here.
func (m *manager) setPeering(peers, relay net.Listener) error {
	at := func(l net.Listener) (string, error) {
		_, port, err := net.SplitHostPort(l.Addr().String())
		return net.JoinHostPort(m.cfg.address(), port), err
	}
	listen := peers.Addr().String()
	advertise, err := at(peers)
	if err = errors.Join(err, peers.Close()); err != nil {
		return err
	}
	door, err := at(relay)
	agents, err2 := at(m.agents)
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	m.peering = &etcdlog.Peering{
		Name: m.cfg.Node, Listen: listen, Advertise: advertise, Door: door, Agents: agents, Join: m.join, CommonName: wire.ManagerName,
		CertFile: m.cfg.path("pki", "peer.crt"), KeyFile: m.cfg.path("pki", "peer.key"), CAFile: m.cfg.path("pki", "ca.crt"),
	}
	cert, err := m.pki.Issue(wire.Leaf{Name: wire.ManagerName, Group: wire.MastersGroup, Hosts: m.hosts()})
	if err != nil {
		return err
	}
	key, err := wire.KeyPEM(cert.PrivateKey)
	if err != nil {
		return err
	}
	for path, b := range map[string][]byte{m.peering.CertFile: wire.CertPEM(cert), m.peering.KeyFile: key} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return fmt.Errorf("writing what managers show each other: %w", err)
		}
	}
	return nil
}

// lead leads whenever the log's members choose this one, until ctx ends.
func (m *manager) lead(ctx context.Context, log *etcdlog.Log) error {
	for {
		now, changed := log.Standing()
		if now.Leads {
			err := m.oneTerm(ctx, log)
			after, _ := log.Standing()
			switch {
			case ctx.Err() != nil:
				return errors.Join(ctx.Err(), err)
			case after.Leads && !errors.Is(err, errOther) && !errors.Is(err, etcdlog.ErrFenced):
				return err
			}
			m.cfg.Log.Warn("this manager leads no more", "why", err)
			continue
		}
		m.front.Follow(now.Door)
		m.cfg.Log.Info("another manager leads", "at", now.Door)
		if err := waitFor(ctx, changed, now.Door == ""); err != nil {
			return err
		}
	}
}

// oneTerm leads until the log's members choose another.
func (m *manager) oneTerm(ctx context.Context, log *etcdlog.Log) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	m.doors = m.front.Lead(log.Leads)
	g, in := errgroup.WithContext(ctx)
	g.Go(func() error { return log.KeepLease(in) })
	g.Go(func() error {
		defer m.doors.End() // before all else has ended: nobody may wait for who leads then
		for {
			now, changed := log.Standing()
			if !now.Leads {
				end(errOther)
				m.doors.End()
				m.front.Follow(now.Door)
				return errOther
			}
			if err := waitFor(in, changed, false); err != nil {
				return err
			}
		}
	})
	g.Go(func() error { return m.term(in, log) })
	err := g.Wait()
	if errors.Is(context.Cause(ctx), errOther) {
		return errOther
	}
	return err
}

// errOther ends a term.
var errOther = errors.New("the managers chose another")

// lookAgain is after how long it is asked again who leads, where nobody has said.
const lookAgain = 100 * time.Millisecond

// waitFor waits for who leads to change; soon: or for a moment.
func waitFor(ctx context.Context, changed <-chan struct{}, soon bool) error {
	var late <-chan time.Time
	if soon {
		late = time.After(lookAgain)
	}
	select {
	case <-changed:
	case <-late:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
