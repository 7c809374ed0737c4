package etcdlog_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"trireme/internal/etcdlog"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// peer is a member that others may reach.
type peer struct {
	*etcdlog.Log
	addr string
}

// free returns an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// runPeer runs a member at addr, which joins where join is not empty.
func runPeer(t *testing.T, pki *wire.PKI, name, addr, join string) *peer {
	t.Helper()
	dir := t.TempDir()
	cert, err := pki.Issue(wire.Leaf{Name: wire.ManagerName, Group: wire.MastersGroup, Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := wire.KeyPEM(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	p := etcdlog.Peering{
		Name: name, Listen: addr, Advertise: addr, Door: name + ":1", Agents: name + ":2", Join: join, CommonName: wire.ManagerName,
		CertFile: filepath.Join(dir, "crt"), KeyFile: filepath.Join(dir, "key"), CAFile: filepath.Join(dir, "ca"),
	}
	for path, b := range map[string][]byte{p.CertFile: wire.CertPEM(cert), p.KeyFile: key, p.CAFile: pki.CAPEM()} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := etcdlog.New(etcdlog.Config{Dir: filepath.Join(dir, "etcd"), Logger: slog.New(slog.DiscardHandler), Peering: &p, UnsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case <-log.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	lease := make(chan error, 1)
	go func() { lease <- log.KeepLease(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-lease
	})
	return &peer{log, addr}
}

// open opens a store on the member.
func (p *peer) open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Log: p.Leader(), Now: time.Now, NewID: newID}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

// TestMembers: a member that joins gets a vote and may be handed the lead; then the first does not
// lead any more, and cannot write once the second has taken over.
func TestMembers(t *testing.T) {
	pki, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := runPeer(t, pki, "a", free(t), "")
	first := a.open(t)
	put := func(s *store.Store, name string) error {
		_, err := s.Update(t.Context(), func(tx *store.Tx) error {
			tables.ConfigMaps.Put(tx, configMap(name, ""))
			return nil
		})
		return err
	}
	if err := put(first, "one"); err != nil {
		t.Fatal(err)
	}
	if !a.Leads(nil) {
		t.Error("a member that is alone does not lead")
	}
	addr := free(t)
	join, err := a.AddLearner(t.Context(), "b", addr)
	if err != nil {
		t.Fatal(err)
	}
	b := runPeer(t, pki, "b", addr, join)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for voters := []string(nil); !slices.Contains(voters, "b"); <-tick.C {
		if voters, err = a.Promote(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !a.Leads(nil) {
		t.Error("the first member does not lead two")
	}
	if s, _ := b.Standing(); s.Leads || s.Door != "a:1" {
		t.Errorf("the second member sees %+v", s)
	}
	members := a.Members()
	if len(members) != 2 || members[1].Name != "b" || members[1].Learner || members[1].Agents != "b:2" || members[1].Address != addr {
		t.Errorf("%+v", members)
	}
	if err := a.HandOver(t.Context(), members[1].ID); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	close(over)
	if a.Leads(over) {
		t.Error("the first member takes itself for the leader still")
	}
	if !b.Leads(nil) {
		t.Error("the second member does not lead")
	}
	second := b.open(t)
	if _, ok := tables.ConfigMaps.Row(second.Snapshot(), object.Key{Namespace: "default", Name: "one"}); !ok {
		t.Error("the second member lacks what was written")
	}
	if err := put(first, "stale"); err == nil {
		t.Error("the first member wrote after the second took over")
	}
	if err := put(second, "two"); err != nil {
		t.Error(err)
	}
	if _, err := b.AddLearner(t.Context(), "b", free(t)); err == nil {
		t.Error("a member replaced itself")
	}
}
