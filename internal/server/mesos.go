package server

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/access"
	"trireme/internal/api/kube"
	mesosdoor "trireme/internal/api/mesos"
	"trireme/internal/api/mesos/operator"
	"trireme/internal/kind"
	"trireme/internal/loop"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/offer"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// defaultMesosListen is where the Mesos API is unless the configuration says otherwise, and
// another process has the port.
const defaultMesosListen = ":5050"

// mesosDoor builds the Mesos door; nil: there is to be none.
func (m *manager) mesosDoor(s *store.Store, door *kube.Server, loops func() []loop.Stat, say func(agent, framework, executor string, data []byte)) (*mesosdoor.Server, error) {
	if m.mesos == nil {
		return nil, nil
	}
	self := func() *mesosv1.MasterInfo { return m.masterInfo(s) }
	auth := *m.basicAuth(door, "mesos")
	admin, err := operator.New(operator.Config{
		Auth: auth, Store: s, Now: time.Now, Leader: self, Started: time.Now(), Release: Version, Flags: map[string]string{"port": strconv.Itoa(int(m.mesosPort()))},
		Metrics: func() map[string]float64 { return allocatorMetrics(loops()) },
	})
	if err != nil {
		return nil, err
	}
	return mesosdoor.New(s, mesosdoor.Config{Listener: m.doors.Listener(mesosDoor), Auth: auth, Log: m.cfg.Log, Master: self, Operator: admin.Handler(), ToExecutor: say})
}

// allocatorMetrics returns what the loop that makes offers has done, by Mesos' names: how often
// it stepped, and how long a step took in the mean.
func allocatorMetrics(loops []loop.Stat) map[string]float64 {
	m := map[string]float64{"allocator/mesos/allocation_runs": 0, "allocator/mesos/allocation_run_ms": 0}
	for _, st := range loops {
		if st.Name == offer.Name && st.Steps > 0 {
			m["allocator/mesos/allocation_runs"] = float64(st.Steps)
			m["allocator/mesos/allocation_run_ms"] = 1000 * st.Seconds / float64(st.Steps)
		}
	}
	return m
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

// allow says who asks a node's Mesos API, and whether they may.
func (m *manager) allow(s *store.Store, door *kube.Server) func(context.Context, *wire.AllowRequest) (*wire.AllowResponse, error) {
	auth, rules := m.basicAuth(door, "mesos-agent"), access.NewChecker(s)
	return func(ctx context.Context, r *wire.AllowRequest) (*wire.AllowResponse, error) {
		req := (&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{}}).WithContext(ctx)
		if r.Authorization != "" {
			req.Header.Set("Authorization", r.Authorization)
		}
		who, err := auth.Who(req)
		if kind.Is(err, kind.Unauthenticated) {
			return &wire.AllowResponse{Why: err.Error()}, nil
		}
		if err != nil {
			return nil, err
		}
		may, _ := rules.Allows(&access.Request{User: who.User, Verb: r.Verb, Resource: "pods", Subresource: r.Subresource, Namespace: r.Namespace})
		return &wire.AllowResponse{Known: true, Allowed: may}, nil
	}
}

// defaultMesosAgentListen is where Mesos' clients expect agents, and where ours is unless the
// configuration says otherwise, and unless another process has the port.
const defaultMesosAgentListen = ":5051"
