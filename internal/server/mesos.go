package server

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/access"
	"trireme/internal/api/basic"
	"trireme/internal/api/kube"
	mesosdoor "trireme/internal/api/mesos"
	"trireme/internal/api/mesos/operator"
	"trireme/internal/kind"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const (
	// defaultMesos is where the Mesos API is unless somebody says so.
	defaultMesos = ":5050"
	// noPort says that there is to be none.
	noPort = "none"
)

// optionalPort takes the port of a door that a cluster can do without: nil where it is
// switched off, or where nobody chose the port and it is taken.
func optionalPort(what, flag, addr, standard string, log *slog.Logger) (net.Listener, error) {
	if addr == noPort {
		return nil, nil
	}
	l, err := listen(what, flag, addr)
	if addr == standard && kind.Is(err, kind.Exists) {
		log.Warn("a port is taken: this API is not served", "err", err)
		return nil, nil
	}
	return l, err
}

// basicAuth says who is let in by name and token.
func (m *manager) basicAuth(door *kube.Server, realm string) basic.Auth {
	caller := func(c *kube.Caller) basic.Caller {
		return basic.Caller{User: c.User, Key: c.Key(), Client: door.LoopbackAs(c)}
	}
	a := basic.Auth{Realm: realm, Identify: func(req *http.Request) (basic.Caller, error) {
		c, err := door.Caller(req)
		if err != nil {
			return basic.Caller{}, err
		}
		return caller(c), nil
	}}
	if name := m.cfg.Manager.MesosAnonymous; name != "" {
		who := caller(kube.CallerOf(access.User{Name: name, Groups: []string{access.Authenticated}}))
		a.Anonymous = &who
	}
	return a
}

// mesosDoor builds the Mesos door; nil: there is to be none.
func (m *manager) mesosDoor(s *store.Store, door *kube.Server) (*mesosdoor.Server, error) {
	if m.mesos == nil {
		return nil, nil
	}
	self := func() *mesosv1.MasterInfo { return m.masterInfo(s) }
	auth := m.basicAuth(door, "mesos")
	admin, err := operator.New(operator.Config{
		Auth: auth, Store: s, Now: time.Now, Leader: self, Started: time.Now(), Release: Version, Flags: map[string]string{"port": strconv.Itoa(int(m.mesosPort()))},
	})
	if err != nil {
		return nil, err
	}
	return mesosdoor.New(s, mesosdoor.Config{Listener: m.mesos, Auth: auth, Log: m.cfg.Log, Master: self, Operator: admin.Handler()})
}

// masterInfo returns what Mesos' clients are told of this manager.
func (m *manager) masterInfo(s *store.Store) *mesosv1.MasterInfo {
	id := ""
	if system, ok := tables.Namespaces.Get(s.Snapshot(), object.Key{Name: metav1.NamespaceSystem}); ok {
		id = mesos.MasterID(system)
	}
	addr, err := netip.ParseAddr(m.cfg.address())
	if err != nil {
		addr = netip.IPv4Unspecified()
	}
	return mesos.Master(id, netip.AddrPortFrom(addr, m.mesosPort()), m.cfg.Node, operator.Version)
}

func (m *manager) mesosPort() uint16 { return netip.MustParseAddrPort(m.mesos.Addr().String()).Port() }
