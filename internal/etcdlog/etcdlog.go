package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"

	"trireme/internal/kind"
	"trireme/internal/store"
)

// ErrFenced is returned by Append when another writer has taken the log over.
var ErrFenced = errors.New("another manager took over the log")

// Config configures a Log. Dir and Logger are required.
type Config struct {
	Dir    string // etcd's data, its sockets
	Logger *slog.Logger
	// QuotaBytes is the largest size of the data file. 0: 8 GiB.
	QuotaBytes int64
	// HistoryCommits is how many recent commits survive a compaction, for
	// watchers that resume after a restart. 0: 1,000.
	HistoryCommits int64
	// CompactEvery is the time between two compactions. 0: one minute.
	CompactEvery time.Duration
	// Peering is how other members reach this one; nil: there are none.
	Peering *Peering
	// Alone makes this member the only one at its start, whoever the others were: all that
	// they alone had is lost, and they must not run any more.
	Alone bool
	// UnsafeNoSync leaves out fsync: for tests of what does not need a disk.
	UnsafeNoSync bool
}

const (
	registryPrefix = "/registry/"
	fenceKey       = "/trireme/commit"
	// requestBytesMax is etcd's limit for one transaction; the store's groups
	// stay far below it, one object of the largest allowed size fits.
	requestBytesMax = 16 << 20
	rowsPage        = 5000
)

// Log is an etcd member. New it, Run it, wait for Ready.
type Log struct {
	cfg    Config
	server *etcdserver.EtcdServer
	ready  chan struct{}
	fatal  chan error
	lease  lease
	given  atomic.Int64 // bytes that raft was given since it was last made to forget
}

// Leader is one term of writing to the log: the store.Log of one Store. A new
// Leader that has loaded shuts out all earlier ones. One goroutine at a time.
type Leader struct {
	*Log
	fenceRev int64 // modification revision of the fence we left
	fenceVer int64 // and its version: how often it was written

	txn func(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error) // nil: the server's; set by tests
}

// Leader returns a writer that has not taken the log over yet: Load does that.
// Call it after Ready.
func (l *Log) Leader() *Leader { return &Leader{Log: l} }

// fence is the value of fenceKey.
type fence struct {
	First store.Rev `json:"first"` // revision of the commit's first row
	Last  store.Rev `json:"last"`  // revision of its last; First-1: no rows
}

// New returns a Log that is not running yet.
func New(cfg Config) (*Log, error) {
	if cfg.Dir == "" || cfg.Logger == nil {
		return nil, kind.New(kind.Invalid, "etcdlog: Config.Dir and Config.Logger are required")
	}
	if cfg.QuotaBytes == 0 {
		cfg.QuotaBytes = 8 << 30
	}
	if cfg.HistoryCommits == 0 {
		cfg.HistoryCommits = 1000
	}
	if cfg.CompactEvery == 0 {
		cfg.CompactEvery = time.Minute
	}
	return &Log{cfg: cfg, ready: make(chan struct{}), fatal: make(chan error, 1)}, nil
}

// Ready is closed when the log can be loaded.
func (l *Log) Ready() <-chan struct{} { return l.ready }

// Run starts the member and blocks until ctx ends or etcd fails; then the member
// has stopped.
func (l *Log) Run(ctx context.Context) error {
	if err := os.MkdirAll(l.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("making etcd's folder: %w", err)
	}
	if p := l.cfg.Peering; p != nil && p.Join != "" {
		if err := l.noteSeveral(); err != nil {
			return err
		}
	}
	member, err := l.start()
	if err != nil {
		return fmt.Errorf("starting etcd in %s: %w", l.cfg.Dir, err)
	}
	defer member.Close()
	select {
	case <-member.Server.ReadyNotify():
	case err := <-member.Err():
		return fmt.Errorf("starting etcd in %s: %w", l.cfg.Dir, err)
	case err := <-l.fatal:
		return err
	case <-member.Server.StopNotify():
		return l.stopped(member.Server)
	case <-ctx.Done():
		return ctx.Err()
	}
	l.server = member.Server
	if err := l.announce(ctx); err != nil {
		return err
	}
	close(l.ready)
	compact := time.NewTicker(l.cfg.CompactEvery)
	defer compact.Stop()
	var shedding shedding
	shed := time.NewTicker(shedEvery)
	defer shed.Stop()
	for {
		select {
		case <-compact.C:
			l.compact(ctx)
		case <-shed.C:
			shedding.look(ctx, l)
		case err := <-member.Err():
			if l.server.IsIDRemoved(uint64(l.server.MemberID())) {
				return l.stopped(l.server)
			}
			return fmt.Errorf("etcd in %s: %w", l.cfg.Dir, err)
		case err := <-l.fatal:
			return err
		case <-member.Server.StopNotify():
			return l.stopped(l.server)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stopped says why etcd stopped by itself.
func (l *Log) stopped(s *etcdserver.EtcdServer) error {
	if s.IsIDRemoved(uint64(s.MemberID())) {
		return kind.New(kind.Gone, "this manager was taken out of its cluster: end it with `trireme down`, then join again, as a node or as a manager")
	}
	return fmt.Errorf("etcd in %s stopped by itself", l.cfg.Dir)
}

func (l *Log) config() *embed.Config {
	c := embed.NewConfig()
	c.Dir = filepath.Join(l.cfg.Dir, "member")
	c.Name = "trireme"
	c.TickMs, c.ElectionMs = 50, electionAlone
	client := url.URL{Scheme: "unix", Path: filepath.Join(l.cfg.Dir, "client.sock")}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(l.cfg.Dir, "peer.sock")}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.QuotaBackendBytes = l.cfg.QuotaBytes
	c.MaxRequestBytes = requestBytesMax
	c.MaxTxnOps = 1 << 14
	c.SnapshotCount, c.SnapshotCatchUpEntries = 2000, behindAlone
	c.UnsafeNoFsync = l.cfg.UnsafeNoSync
	c.EnableGRPCGateway = false
	c.ForceNewCluster = l.cfg.Alone
	l.peer(c)
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(l.cfg.Logger, l.fatal))
	return c
}

// Append commits the entries as one etcd transaction behind the fence.
func (l *Leader) Append(ctx context.Context, entries []store.Entry) error {
	f := fence{First: entries[0].Rev, Last: entries[len(entries)-1].Rev}
	if f.Last-f.First+1 != store.Rev(len(entries)) {
		return kind.New(kind.Internal, "etcdlog: revisions %d…%d over %d rows", f.First, f.Last, len(entries))
	}
	ops := make([]*pb.RequestOp, 0, len(entries)+1)
	size := 0
	for _, e := range entries {
		ops = append(ops, requestOp(e))
		size += len(e.Key) + len(e.Value)
	}
	l.given.Add(int64(size))
	return l.commit(ctx, f, ops)
}

func requestOp(e store.Entry) *pb.RequestOp {
	if e.Value == nil {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(e.Key)}}}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: []byte(e.Key), Value: e.Value}}}
}

// compact drops etcd's history but for the last commits.
func (l *Log) compact(ctx context.Context) {
	rev := l.server.KV().Rev() - l.cfg.HistoryCommits
	if rev <= l.server.KV().FirstRev() {
		return
	}
	if _, err := l.server.Compact(ctx, &pb.CompactionRequest{Revision: rev}); err != nil {
		l.cfg.Logger.Error("compacting the log", "err", err)
	}
}
