package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"

	"trireme/internal/kind"
)

// Peering is how the members of one log reach each other. All but Join is required.
type Peering struct {
	Name      string // of this member, as no other is called
	Listen    string // HOST:PORT where others reach it
	Advertise string // the same as they know it
	// Door is HOST:PORT where this member's manager takes what others pass on to it while it
	// leads. It is nothing to etcd but an address that it tells all members.
	Door string
	// Agents is HOST:PORT where it takes the sessions of agents, told in the same way.
	Agents string
	// CertFile, KeyFile and CAFile are what it shows and whom it trusts; CommonName is what
	// the certificates of others must say.
	CertFile, KeyFile, CAFile, CommonName string
	// Join is what AddLearner returned to a member that has no data yet; empty: it begins a
	// log of its own.
	Join string
}

// severalFile says that the log has had more than one member: entries are kept for those
// that are behind.
const severalFile = "several"

// Entries that are kept in memory for a follower that is behind. Each may be 4 MiB, so that
// a member that is alone keeps hardly any.
const (
	behindAlone   = 10
	behindSeveral = 200
)

// How long nothing is heard of who leads until another is chosen, in milliseconds. One that is
// alone leads sooner after its start; with others beside it a machine may be busy for longer.
const (
	electionAlone   = 500
	electionSeveral = 1000
)

// peer completes etcd's configuration for a member that others may reach.
func (l *Log) peer(c *embed.Config) {
	p := l.cfg.Peering
	if p == nil {
		return
	}
	c.Name = p.Name
	c.ListenPeerUrls = []url.URL{{Scheme: "https", Host: p.Listen}}
	c.AdvertisePeerUrls = []url.URL{{Scheme: "https", Host: p.Advertise}}
	c.AdvertiseClientUrls = []url.URL{{Scheme: "https", Host: p.Door, Path: doorPath}, {Scheme: "https", Host: p.Agents, Path: agentsPath}}
	c.PeerTLSInfo = transport.TLSInfo{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: p.CAFile, ClientCertAuth: true, AllowedCNs: []string{p.CommonName}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	if p.Join != "" {
		c.InitialCluster, c.ClusterState = p.Join, embed.ClusterStateFlagExisting
	}
	if l.several() {
		c.SnapshotCatchUpEntries = behindSeveral
		c.ElectionMs = electionSeveral
	}
}

func (l *Log) several() bool { return l.cfg.Peering.Join != "" || Several(l.cfg.Dir) }

// Several reports whether the log in dir has had more than one member.
func Several(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, severalFile))
	return err == nil
}

// noteSeveral notes that the log has more than one member.
func (l *Log) noteSeveral() error {
	return os.WriteFile(filepath.Join(l.cfg.Dir, severalFile), nil, 0o600)
}

// Exists reports whether there is a log in dir.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "member", "member"))
	return err == nil
}

// announce tells all members where this one is now reached: its address may have changed
// since it was added.
func (l *Log) announce(ctx context.Context) error {
	own := l.server.Cluster().Member(l.server.MemberID())
	want := []string{l.config().AdvertisePeerUrls[0].String()}
	if own == nil || slices.Equal(own.PeerURLs, want) {
		return nil
	}
	if _, err := l.server.UpdateMember(ctx, membership.Member{ID: own.ID, RaftAttributes: membership.RaftAttributes{PeerURLs: want, IsLearner: own.IsLearner}}); err != nil {
		return fmt.Errorf("telling the other managers this one's address: %w", err)
	}
	return nil
}

// Standing is who leads.
type Standing struct {
	Leads bool   // this member does
	Door  string // of the one that leads; empty: nobody does, or it has not said
}

// Standing returns who leads now. The channel is closed when that changes. Call it after Ready.
func (l *Log) Standing() (Standing, <-chan struct{}) {
	changed := l.server.LeaderChangedNotify()
	lead := l.server.Leader()
	if lead == l.server.MemberID() {
		return Standing{Leads: true}, changed
	}
	m := l.server.Cluster().Member(lead)
	if m == nil {
		return Standing{}, changed
	}
	return Standing{Door: told(m, doorPath)}, changed
}

// What a member tells the others of its manager stands among its clients' URLs, which etcd gives to
// all members: told apart by the path.
const (
	doorPath   = "/door"
	agentsPath = "/agents"
)

// told returns the address that a member told of under the path; empty: it has not.
func told(m *membership.Member, path string) string {
	for _, text := range m.ClientURLs {
		if u, err := url.Parse(text); err == nil && u.Path == path {
			return u.Host
		}
	}
	return ""
}

// Member is a member of the log.
type Member struct {
	ID      uint64 `json:"id"`
	Name    string `json:"name"`    // empty: it has never run
	Address string `json:"address"` // HOST:PORT of its peers' port
	Door    string `json:"-"`
	Agents  string `json:"-"`
	Leads   bool   `json:"leads"`
	Learner bool   `json:"learner"` // it has not caught up: it has no vote
}

// Members returns all members, in the order of their names.
func (l *Log) Members() []Member {
	var out []Member
	for _, m := range l.server.Cluster().Members() {
		one := Member{ID: uint64(m.ID), Name: m.Name, Door: told(m, doorPath), Agents: told(m, agentsPath), Leads: m.ID == l.server.Leader(), Learner: m.IsLearner}
		if len(m.PeerURLs) > 0 {
			if u, err := url.Parse(m.PeerURLs[0]); err == nil {
				one.Address = u.Host
			}
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.Name+" "+a.Address, b.Name+" "+b.Address) })
	return out
}

// AddLearner adds the member called name that listens at address, HOST:PORT, without a vote, and
// returns what it is to start with (Peering.Join). Where there was one of that address or name, it
// is taken for lost and replaced.
func (l *Log) AddLearner(ctx context.Context, name, address string) (join string, err error) {
	if l.cfg.Peering == nil {
		return "", kind.New(kind.Conflict, "this manager is reached by no other: start it with --peer-listen")
	}
	for _, m := range l.Members() {
		if m.Address != address && m.Name != name {
			continue
		}
		if m.ID == uint64(l.server.MemberID()) {
			return "", kind.New(kind.Exists, "manager %s at %s is this one: give the new one another --node and --address", m.Name, m.Address)
		}
		if err := l.Remove(ctx, m.ID); err != nil {
			return "", fmt.Errorf("replacing manager %s at %s: %w", m.Name, m.Address, err)
		}
	}
	urls, err := types.NewURLs([]string{"https://" + address})
	if err != nil {
		return "", kind.New(kind.Invalid, "address %q: %w", address, err)
	}
	if err := l.noteSeveral(); err != nil {
		return "", err
	}
	now := time.Now()
	added := membership.NewMemberAsLearner("", urls, "", &now)
	all, err := l.addMember(ctx, *added)
	if err != nil {
		return "", fmt.Errorf("adding manager %s: %w", name, err)
	}
	var parts []string
	for _, m := range all {
		called := m.Name
		if m.ID == added.ID {
			called = name
		}
		for _, u := range m.PeerURLs {
			parts = append(parts, called+"="+u)
		}
	}
	return strings.Join(parts, ","), nil
}

// Members are added and taken out only while enough of the others have been connected for
// etcd's HealthInterval of five seconds: one that has just joined delays the next.
const (
	healthyMax   = 20 * time.Second
	healthyEvery = 250 * time.Millisecond
)

func (l *Log) addMember(ctx context.Context, m membership.Member) (all []*membership.Member, err error) {
	err = l.whenHealthy(ctx, func() error {
		all, err = l.server.AddMember(ctx, m)
		return err
	})
	return all, err
}

// whenHealthy does what is refused for as long as members have not been connected long enough.
func (l *Log) whenHealthy(ctx context.Context, do func() error) error {
	late := time.NewTimer(healthyMax)
	defer late.Stop()
	tick := time.NewTicker(healthyEvery)
	defer tick.Stop()
	for {
		err := do()
		if !errors.Is(err, etcderrors.ErrUnhealthy) {
			return err
		}
		select {
		case <-tick.C:
		case <-late.C:
			return kind.New(kind.Unavailable, "more than half of the managers must answer, also when this one fails: start those that are down, or take them out with `trireme manager rm` (%w)", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Promote gives a vote to the members that have caught up, and returns their names. Only the leader
// can.
func (l *Log) Promote(ctx context.Context) (names []string, err error) {
	for _, m := range l.Members() {
		if !m.Learner || m.Name == "" { // no name: it has not begun
			continue
		}
		l.lease.alone.Store(false) // from now on another may lead
		if _, e := l.server.PromoteMember(ctx, m.ID); e != nil {
			if !errors.Is(e, membership.ErrIDNotFound) && !errors.Is(e, etcderrors.ErrLearnerNotReady) {
				err = errors.Join(err, fmt.Errorf("giving manager %s a vote: %w", m.Name, e))
			}
			continue
		}
		names = append(names, m.Name)
	}
	return names, err
}

// Remove takes a member out. It is refused where too few would be left that answer.
func (l *Log) Remove(ctx context.Context, id uint64) error {
	return l.whenHealthy(ctx, func() error {
		_, err := l.server.RemoveMember(ctx, id)
		return err
	})
}

// HandOver has the member lead, which must have a vote.
func (l *Log) HandOver(ctx context.Context, id uint64) error {
	l.lease.end() // the other may lead at once, without waiting for who heard of this one
	return l.server.MoveLeader(ctx, uint64(l.server.MemberID()), id)
}
