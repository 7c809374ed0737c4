package cri

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// relistPeriod is how often a runtime that sends no events is looked at.
const relistPeriod = 2 * time.Second

// Events yields the UID of each pod of ours whose containers or sandbox changed.
// The first pair is an empty UID: what happened before is not told. A runtime
// without events yields an empty UID every 2 s.
func (r *Runtime) Events(ctx context.Context) iter.Seq2[types.UID, error] {
	return func(yield func(types.UID, error) bool) {
		ctx, cancel := context.WithCancel(ctx) // ends the stream when the reader breaks off
		defer cancel()
		stream, err := r.calls.GetContainerEvents(ctx, &criv1.GetEventsRequest{})
		if err != nil {
			yield("", classify(err, "watching containers", ""))
			return
		}
		if !yield("", nil) {
			return
		}
		for {
			e, err := stream.Recv()
			switch {
			case status.Code(err) == codes.Unimplemented:
				tick(ctx, yield)
				return
			case ctx.Err() != nil:
				yield("", ctx.Err())
				return
			case errors.Is(err, io.EOF):
				yield("", unavailable("the runtime ended the stream of events"))
				return
			case err != nil:
				yield("", classify(err, "watching containers", ""))
				return
			}
			if uid, mine := r.uidOf(e); mine && !yield(uid, nil) {
				return
			}
		}
	}
}

// uidOf returns the pod an event is about; empty when the runtime does not say,
// which happens for the removal of the last of a pod.
func (r *Runtime) uidOf(e *criv1.ContainerEventResponse) (uid types.UID, mine bool) {
	s := e.GetPodSandboxStatus()
	if s == nil {
		return "", true
	}
	return types.UID(s.GetMetadata().GetUid()), s.GetLabels()[ownerLabel] == r.cfg.Owner
}

func tick(ctx context.Context, yield func(types.UID, error) bool) {
	t := time.NewTicker(relistPeriod)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			yield("", ctx.Err())
			return
		case <-t.C:
			if !yield("", nil) {
				return
			}
		}
	}
}
