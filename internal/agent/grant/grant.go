// Package grant keeps the books of what each pod of a node was granted of its cpu
// and memory, and grants more or less of it to pods that are resized (Kubernetes,
// "Resize CPU and Memory Resources assigned to Containers").
//
// It is not for placing pods: what a manager bound here is taken in unasked. A
// Ledger may be used concurrently; it calls nobody and holds nothing but numbers.
//
// To debug: a pod's condition PodResizePending says what Ask answered.
package grant

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
)

// Request asks that a pod may have something else than it was granted.
type Request struct {
	UID      types.UID
	Demand   object.Demand
	Priority int32
	Since    time.Time // the longest wait of equal priority goes first
}

// Answer is what becomes of a Request. Reason is empty where it was granted, else
// Deferred (it waits for room) or Infeasible (the node has not that much).
type Answer struct{ Reason, Message string }

// Ledger is the books of one node. The zero value knows no capacity: everything is
// granted.
type Ledger struct {
	mu      sync.Mutex
	can     *object.Demand // what all pods together may have; nil: unknown
	granted map[types.UID]object.Demand
	waiting map[types.UID]Request
}

// SetCapacity says what all pods together may have, and returns the pods whose
// waiting requests that granted.
func (l *Ledger) SetCapacity(allocatable corev1.ResourceList) []types.UID {
	can, _ := object.CapacityOf(allocatable)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.can != nil && l.can.CPUMilli == can.CPUMilli && l.can.MemoryBytes == can.MemoryBytes {
		return nil
	}
	l.can = &can
	return l.retryLocked()
}

// Take enters what a pod has anyway.
func (l *Ledger) Take(uid types.UID, d object.Demand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.granted == nil {
		l.granted, l.waiting = map[types.UID]object.Demand{}, map[types.UID]Request{}
	}
	l.granted[uid] = d
}

// Ask asks for what a pod that was taken in should have from now on; it replaces
// what the pod asked before. more lists the pods whose waiting requests were
// granted because this one needs less.
func (l *Ledger) Ask(r Request) (answer Answer, more []types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, r.UID)
	answer = l.judgeLocked(&r)
	switch answer.Reason {
	case "":
		l.granted[r.UID] = r.Demand
		more = l.retryLocked()
	case corev1.PodReasonDeferred:
		l.waiting[r.UID] = r
	}
	return answer, more
}

// Release forgets a pod, and returns the pods whose waiting requests were granted
// by that.
func (l *Ledger) Release(uid types.UID) []types.UID {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, uid)
	if _, ok := l.granted[uid]; !ok {
		return nil
	}
	delete(l.granted, uid)
	return l.retryLocked()
}

func (l *Ledger) judgeLocked(r *Request) Answer {
	if l.can == nil {
		return Answer{}
	}
	used := object.Demand{}
	for uid, d := range l.granted {
		if uid != r.UID {
			used.CPUMilli, used.MemoryBytes = used.CPUMilli+d.CPUMilli, used.MemoryBytes+d.MemoryBytes
		}
	}
	has := l.granted[r.UID]
	for _, one := range []struct {
		name                  corev1.ResourceName
		has, wants, can, rest int64
	}{
		{corev1.ResourceCPU, has.CPUMilli, r.Demand.CPUMilli, l.can.CPUMilli, used.CPUMilli},
		{corev1.ResourceMemory, has.MemoryBytes, r.Demand.MemoryBytes, l.can.MemoryBytes, used.MemoryBytes},
	} {
		switch {
		case one.wants <= one.has:
		case one.wants > one.can:
			return Answer{corev1.PodReasonInfeasible, fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", one.name, one.wants, one.can)}
		case one.rest+one.wants > one.can:
			return Answer{corev1.PodReasonDeferred, fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", one.name, one.wants, one.rest, one.can)}
		}
	}
	return Answer{}
}

// retryLocked grants what waits and has room now, the most important first.
func (l *Ledger) retryLocked() (granted []types.UID) {
	list := slices.SortedFunc(maps.Values(l.waiting), func(a, b Request) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Since.Compare(b.Since), cmp.Compare(a.UID, b.UID))
	})
	for _, r := range list {
		if l.judgeLocked(&r).Reason == "" {
			delete(l.waiting, r.UID)
			l.granted[r.UID] = r.Demand
			granted = append(granted, r.UID)
		}
	}
	return granted
}
