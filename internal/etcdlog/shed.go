package etcdlog

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// raft keeps the last entries in memory, each with all of its rows, and forgets them by
// number: after a burst of large commits the last hundred stay, up to 1 MiB each, for as
// long as hardly anything is written.
const (
	shedEvery   = 4 * time.Second
	shedBytes   = 4 << 20
	shedEntries = 111 // more than etcdserver's memorySnapshotCount and the ten that it keeps below (SnapshotCatchUpEntries)
)

// shedding looks for the moment to make raft forget.
type shedding struct {
	index uint64 // applied at the last look
}

// look sheds when large commits were made and nothing has been applied since the last
// look.
func (s *shedding) look(ctx context.Context, l *Log) {
	now := l.server.AppliedIndex()
	quiet := now == s.index
	s.index = now
	if !quiet || l.given.Load() < shedBytes {
		return
	}
	if err := l.shed(ctx); err != nil && ctx.Err() == nil {
		l.cfg.Logger.Warn("letting raft forget", "err", err)
	}
	s.index = l.server.AppliedIndex()
}

// shed proposes entries that change nothing until raft has forgotten the large ones:
// the fence is never unwritten, so that their condition never holds, and a transaction
// that writes nothing has no revision.
func (l *Log) shed(ctx context.Context) error {
	l.given.Store(0)
	nothing := &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: []byte(fenceKey), Target: pb.Compare_VERSION, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Version{Version: 0},
		}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(fenceKey)}}}},
	}
	for range shedEntries {
		if _, err := l.server.Txn(ctx, nothing); err != nil {
			return err
		}
	}
	return nil
}
