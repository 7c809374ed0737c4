package etcdlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"

	"trireme/internal/store"
)

// triesMax is how often a commit is tried whose answer does not come; etcd waits
// six seconds each time.
const triesMax = 10

// inDoubt are etcd's errors after which a transaction may have been committed, or
// may still be.
var inDoubt = []error{
	etcderrors.ErrTimeout, etcderrors.ErrTimeoutDueToLeaderFail, etcderrors.ErrTimeoutDueToConnectionLost,
	etcderrors.ErrLeaderChanged, etcderrors.ErrNoLeader, etcderrors.ErrTooManyRequests,
}

// commit writes ops and the fence, if the fence is still the one we left. A commit
// whose answer does not come in time, because the machine or the disk is busy, is
// tried again: the fence lets one of the tries through, and tells whether it was
// ours.
func (l *Leader) commit(ctx context.Context, f fence, ops []*pb.RequestOp) error {
	value, err := json.Marshal(f)
	if err != nil {
		return err
	}
	r := l.behindFence(value, ops)
	for try := 1; ; try++ {
		resp, err := l.send(ctx, r)
		doubt := slices.ContainsFunc(inDoubt, func(e error) bool { return errors.Is(err, e) })
		switch {
		case err == nil && resp.Succeeded:
			l.fenceRev, l.fenceVer = resp.Header.Revision, l.fenceVer+1
			return nil
		case err == nil && try > 1:
			return l.landed(resp, f, value)
		case err == nil:
			return ErrFenced
		case !doubt || try == triesMax || ctx.Err() != nil:
			l.yield(ctx)
			return fmt.Errorf("writing to etcd: %w", err)
		}
		l.cfg.Logger.Warn("the log is slow: trying again", "rows", len(ops), "try", try, "err", err)
	}
}

// endWait bounds how long etcd may take to end.
const endWait = 10 * time.Second

// yield waits, where etcd is ending, until ctx ends: Run knows why and says so, and a
// writer that is faster would have its "stopped" taken for the reason.
func (l *Leader) yield(ctx context.Context) {
	if l.server == nil {
		return
	}
	select {
	case <-l.server.StoppingNotify():
	default:
		return
	}
	late := time.NewTimer(endWait)
	defer late.Stop()
	select {
	case <-ctx.Done():
	case <-late.C:
	}
}

func (l *Leader) send(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if l.txn != nil {
		return l.txn(ctx, r)
	}
	return l.server.Txn(ctx, r)
}

// behindFence returns the transaction that writes ops and the fence's new value,
// or reads the fence where it is not the one we left.
func (l *Leader) behindFence(value []byte, ops []*pb.RequestOp) *pb.TxnRequest {
	ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: []byte(fenceKey), Value: value}}})
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: []byte(fenceKey), Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: l.fenceRev},
		}},
		Success: ops,
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: []byte(fenceKey)}}}},
	}
}

// landed looks at the fence that stopped a later try. Where it was written once
// since we left it, with our value, an earlier try came through. Nobody else can
// have written that in one step: who takes over writes a fence without rows first.
func (l *Leader) landed(resp *pb.TxnResponse, f fence, value []byte) error {
	if len(resp.Responses) != 1 || f.Last < f.First {
		return ErrFenced // a take-over cannot be told from another's: it must be begun anew
	}
	found := resp.Responses[0].GetResponseRange().GetKvs()
	if len(found) != 1 || found[0].Version != l.fenceVer+1 || !bytes.Equal(found[0].Value, value) {
		return ErrFenced
	}
	l.fenceRev, l.fenceVer = found[0].ModRevision, found[0].Version
	return nil
}

var _ store.Log = (*Leader)(nil)
