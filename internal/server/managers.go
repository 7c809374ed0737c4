package server

import (
	"cmp"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/internal/etcdlog"
	"trireme/internal/kind"
	objectmanager "trireme/internal/object/manager"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// sharedFiles are what all managers have, below Root/pki.
var sharedFiles = []string{
	"ca.crt", "ca.key", "sa.key", WorkerTokenFile, ManagerTokenFile, "front-proxy/ca.crt", "front-proxy/ca.key",
}

// managers is the managers of a cluster, as the one that leads sees them.
type managers struct {
	m       *manager
	log     *etcdlog.Log
	joining sync.Mutex      // one at a time
	away    map[uint64]bool // members whose managers do not answer; keep's own

	mu           sync.Mutex
	certificates map[string]*tls.Certificate // by for whom they are
}

// Admit implements dispatch.Managers.
func (a *managers) Admit(ctx context.Context, r *wire.ManagerRequest) (*wire.ManagerResponse, error) {
	cfg := &a.m.cfg
	if !a.m.managerToken.Token().Matches(r.Secret) {
		return nil, kind.New(kind.Unauthenticated, "the token is not this cluster's for managers: `trireme status` on a manager prints the right one")
	}
	for _, same := range []struct{ flag, asked, have string }{
		{"--pod-cidr", r.PodCidr, cfg.PodCIDR}, {"--service-cidr", r.ServiceCidr, cfg.ServiceCIDR}, {"domain", r.Domain, cfg.Domain},
	} {
		if same.asked != same.have {
			return nil, kind.New(kind.Invalid, "%s is %q there and %q here: it is the same on all managers", same.flag, same.asked, same.have)
		}
	}
	if host, _, err := net.SplitHostPort(r.Address); err != nil || net.ParseIP(host) == nil {
		return nil, kind.New(kind.Invalid, "%q is no address of a log, IP:PORT: say --address on that machine", r.Address)
	}
	resp := &wire.ManagerResponse{Files: map[string][]byte{}}
	for _, name := range sharedFiles {
		b, err := os.ReadFile(cfg.path("pki", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the user's own, which each manager is told of
		}
		if err != nil {
			return nil, fmt.Errorf("reading what managers share: %w", err)
		}
		resp.Files[name] = b
	}
	a.joining.Lock()
	defer a.joining.Unlock()
	var err error
	if resp.Join, err = a.log.AddLearner(ctx, r.Name, r.Address); err != nil {
		return nil, err
	}
	cfg.Log.Info("a manager joins", "name", r.Name, "address", r.Address)
	return resp, nil
}

// Agents implements dispatch.Managers.
func (a *managers) Agents() (out []string) {
	for _, m := range a.log.Members() {
		if m.Agents != "" {
			out = append(out, m.Agents)
		}
	}
	slices.Sort(out)
	return out
}

// Hosts implements dispatch.Managers.
func (a *managers) Hosts() (out []string) {
	for _, m := range a.log.Members() {
		if host, _, err := net.SplitHostPort(m.Address); err == nil && m.Name != "" {
			out = append(out, m.Name, host)
		}
	}
	return out
}

// lookEvery is how often the managers are looked at.
const (
	lookEvery    = 500 * time.Millisecond
	lookAtOthers = 4 // whether they answer: each that many looks
)

// findAway returns the members whose managers do not answer.
func (a *managers) findAway(ctx context.Context) map[uint64]bool {
	var mu sync.Mutex
	away := map[uint64]bool{}
	var g errgroup.Group
	for _, m := range a.log.Members() {
		if m.Leads || m.Door == "" {
			continue
		}
		g.Go(func() error {
			if !a.m.front.Reaches(ctx, m.Door) {
				mu.Lock()
				away[m.ID] = true
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
	return away
}

// keep gives votes to managers that have caught up, takes out those whose Manager is deleted, and
// writes how all stand, until ctx ends.
func (a *managers) keep(ctx context.Context, s *store.Store) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		if i%lookAtOthers == 0 {
			a.away = a.findAway(ctx)
		}
		names, err := a.log.Promote(ctx)
		if err != nil && ctx.Err() == nil {
			a.m.cfg.Log.Warn("a manager waits for its vote", "err", err)
		}
		for _, name := range names {
			a.m.cfg.Log.Info("a manager has caught up, and a vote", "name", name)
		}
		if err := a.show(ctx, s, a.takeOut(ctx, s)); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// takeOut takes out the managers whose Manager is deleted, and returns by name what spoke against
// it. One that leads itself has another lead first, which takes it out.
func (a *managers) takeOut(ctx context.Context, s *store.Store) map[string]string {
	why := map[string]string{}
	members := a.log.Members()
	for row := range tables.Managers(s.Snapshot()) {
		at := slices.IndexFunc(members, func(m etcdlog.Member) bool { return m.Name == row.Name })
		if row.DeletionTimestamp == nil || at < 0 {
			continue
		}
		if err := a.remove(ctx, members, members[at]); err != nil {
			why[row.Name] = err.Error()
		}
	}
	return why
}

func (a *managers) remove(ctx context.Context, members []etcdlog.Member, one etcdlog.Member) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !one.Leads {
		if err := a.log.Remove(ctx, one.ID); err != nil {
			return fmt.Errorf("%w: the managers that are left must be more than half of those that there are, and answer", err)
		}
		a.m.cfg.Log.Info("a manager is taken out", "name", one.Name)
		return nil
	}
	for _, m := range members {
		if !m.Leads && !m.Learner {
			return a.log.HandOver(ctx, m.ID)
		}
	}
	return kind.New(kind.Conflict, "it is the only one: `trireme down` on that machine ends the cluster")
}

// patience is how long a change of who is a manager may take.
const patience = 10 * time.Second

// show writes how the managers stand.
func (a *managers) show(ctx context.Context, s *store.Store, why map[string]string) error {
	want := map[string]objectmanager.Status{}
	for _, m := range a.log.Members() {
		if a.m.peering == nil {
			m.Name = a.m.cfg.Node
		}
		if m.Name == "" {
			continue // it has not begun: nobody but etcd knows whose address it is
		}
		st := objectmanager.Status{State: objectmanager.Follower, Address: m.Address, ID: strconv.FormatUint(m.ID, 16), Unreachable: a.away[m.ID], Message: why[m.Name]}
		switch {
		case m.Leads:
			st.State = objectmanager.Leader
		case m.Learner:
			st.State = objectmanager.Learner
		}
		want[m.Name] = st
	}
	have := map[string]bool{}
	same := true
	for m := range tables.Managers(s.Snapshot()) {
		have[m.Name] = true
		st, ok := want[m.Name]
		same = same && ok && st == m.Status
	}
	if same && len(have) == len(want) {
		return nil
	}
	_, err := s.Update(ctx, func(tx *store.Tx) error { return writeManagers(tx, want) })
	return err
}

// writeManagers makes the Managers those that there are.
func writeManagers(tx *store.Tx, want map[string]objectmanager.Status) error {
	have := map[string]*objectmanager.Manager{}
	for m := range tables.Managers(tx) {
		have[m.Name] = m
		if _, ok := want[m.Name]; !ok {
			tables.CustomObjects.Delete(tx, tables.ManagerKey(m.Name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		m := have[name]
		if m == nil {
			m = &objectmanager.Manager{}
			m.Name, m.Finalizers = name, []string{objectmanager.Finalizer}
		}
		if have[name] != nil && m.Status == want[name] {
			continue
		}
		m.Status = want[name]
		if err := tables.PutManager(tx, m); err != nil {
			return err
		}
	}
	return nil
}

// joinManagers makes this machine a manager of the cluster that it is told to join, unless it is
// one already. It returns what its log starts with; empty where it has one.
func joinManagers(ctx context.Context, cfg *Config) (join string, err error) {
	c := &cfg.Manager
	if len(c.Join) == 0 || etcdlog.Exists(cfg.path("etcd")) {
		return "", nil
	}
	token, err := wire.ParseToken(c.Token)
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(cmp.Or(c.PeerListen, defaultPeerListen))
	if err != nil {
		return "", invalid("manager.peerListen", "%w", err)
	}
	for _, addr := range c.Join {
		var resp *wire.ManagerResponse
		resp, err = wire.JoinManager(ctx, addr, token, &wire.ManagerRequest{
			Name: cfg.Node, Address: net.JoinHostPort(cfg.address(), port), PodCidr: cfg.PodCIDR, ServiceCidr: cfg.ServiceCIDR, Domain: cfg.Domain,
		})
		if err == nil {
			return resp.Join, keepShared(cfg.path("pki"), resp.Files)
		}
	}
	return "", err
}

// keepShared writes what all managers have.
func keepShared(dir string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !slices.Contains(sharedFiles, name) {
			return kind.New(kind.Denied, "the manager sent %q, which no manager needs", name)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("keeping what managers share: %w", err)
		}
		if have, err := os.ReadFile(path); err == nil && subtle.ConstantTimeCompare(have, files[name]) == 1 {
			continue
		}
		if err := os.WriteFile(path+".new", files[name], 0o600); err != nil {
			return fmt.Errorf("keeping what managers share: %w", err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}
