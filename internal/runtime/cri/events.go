package cri

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// relistPeriod is how often a runtime that sends no events is looked at.
	relistPeriod = 2 * time.Second
	// Nothing tells that a subscription has taken hold: containerd answers with
	// the first event only, and until then an ended subscriber may take the
	// events. So we ask for another list soon after, then ever more rarely.
	resyncMin = 50 * time.Millisecond
	resyncMax = 30 * time.Second
)

// Events yields the UID of each pod of ours whose containers or sandbox changed.
// The first pair is an empty UID: what happened before is not told. Others
// follow, 50 ms later and at growing intervals up to 30 s. A runtime without
// events yields an empty UID every 2 s.
func (r *Runtime) Events(ctx context.Context) iter.Seq2[types.UID, error] {
	return func(yield func(types.UID, error) bool) {
		var receiver sync.WaitGroup
		defer receiver.Wait()
		ctx, cancel := context.WithCancel(ctx) // ends the stream when the reader breaks off
		defer cancel()
		stream, err := r.calls.GetContainerEvents(ctx, &criv1.GetEventsRequest{})
		if err != nil {
			yield("", classify(err, "watching containers", ""))
			return
		}
		in := make(chan received)
		receiver.Go(func() { receive(ctx, stream, in) })
		if yield("", nil) {
			r.tell(ctx, in, yield)
		}
	}
}

// received is one answer of the stream.
type received struct {
	event *criv1.ContainerEventResponse
	err   error
}

func receive(ctx context.Context, stream criv1.RuntimeService_GetContainerEventsClient, out chan<- received) {
	for {
		e, err := stream.Recv()
		select {
		case out <- received{e, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (r *Runtime) tell(ctx context.Context, in <-chan received, yield func(types.UID, error) bool) {
	wait := resyncMin
	resync := time.NewTimer(wait)
	defer resync.Stop()
	for {
		select {
		case <-ctx.Done():
			yield("", ctx.Err())
			return
		case <-resync.C:
			if !yield("", nil) {
				return
			}
			wait = min(2*wait, resyncMax)
			resync.Reset(wait)
		case m := <-in:
			switch {
			case m.err == nil:
				if uid, mine := r.uidOf(m.event); mine && !yield(uid, nil) {
					return
				}
				continue
			case ctx.Err() != nil:
				yield("", ctx.Err())
			case status.Code(m.err) == codes.Unimplemented:
				tick(ctx, yield)
			case errors.Is(m.err, io.EOF):
				yield("", unavailable("the runtime ended the stream of events"))
			default:
				yield("", classify(m.err, "watching containers", ""))
			}
			return
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
