package mesos

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// arrivals counts ACCEPTs, so that they are taken apart in the order in which they came.
var arrivals atomic.Uint64

// refuseMax is how long a filter holds at the most.
const refuseMax = 365 * 24 * time.Hour

// refusal returns how long what is left of offers is refused.
func refusal(f *mesosv1.Filters) time.Duration {
	const standard = 5
	s := f.GetRefuseSeconds()
	switch {
	case math.IsNaN(s) || s < 0:
		s = standard
	case s > refuseMax.Seconds():
		return refuseMax
	}
	return time.Duration(s * float64(time.Second))
}

func names(ids []*mesosv1.OfferID) (all []string) {
	for _, id := range ids {
		all = append(all, id.GetValue())
	}
	return all
}

func accept(c *call) error {
	a := c.GetAccept()
	row := &mesos.Accept{Offers: names(a.GetOfferIds()), Operations: a.GetOperations(), RefuseFor: refusal(a.GetFilters())}
	row.Namespace = c.framework.Spec.ID
	row.Name = fmt.Sprintf("%020d", arrivals.Add(1))
	c.answered(a.GetOfferIds())
	return c.write(func(tx *store.Tx) error {
		tables.MesosAccepts.Put(tx, row)
		return nil
	})
}

// answered notes that the framework gave offers back, or took them.
func (c *call) answered(ids []*mesosv1.OfferID) {
	if s := c.door.streamOf(c.framework.Spec.ID); s != nil {
		s.answered(ids)
	}
}

func decline(c *call) error {
	c.answered(c.GetDecline().GetOfferIds())
	return c.refuse(c.GetDecline().GetOfferIds(), refusal(c.GetDecline().GetFilters()), false, false)
}

// refuse has the framework's lent offers refused for a while; accepted is what it said to
// inverse ones.
func (c *call) refuse(ids []*mesosv1.OfferID, wait time.Duration, inverse, accepted bool) error {
	framework := c.framework.Spec.ID
	return c.write(func(tx *store.Tx) error {
		for _, id := range names(ids) {
			o, ok := tables.MesosOffers.Get(tx, object.Key{Name: id})
			if !ok || o.Refused || o.Framework != framework || o.Inverse != inverse {
				continue // it was rescinded meanwhile
			}
			if wait == 0 {
				tables.MesosOffers.Delete(tx, object.KeyOf(o))
				continue
			}
			next := o.Clone()
			next.Refused, next.Accepted, next.Until = true, accepted, tx.Now().Add(max(wait, time.Second)) // one interval of allocation
			tables.MesosOffers.Put(tx, next)
		}
		return nil
	})
}

func acceptInverse(c *call) error {
	a := c.GetAcceptInverseOffers()
	return c.answerInverse(a.GetInverseOfferIds(), a.GetFilters(), true)
}

func declineInverse(c *call) error {
	d := c.GetDeclineInverseOffers()
	return c.answerInverse(d.GetInverseOfferIds(), d.GetFilters(), false)
}

// answerInverse notes what the framework says to inverse offers, for who asked.
func (c *call) answerInverse(ids []*mesosv1.OfferID, f *mesosv1.Filters, yes bool) error {
	c.answered(ids)
	return c.refuse(ids, max(refusal(f), time.Second), true, yes)
}

// roles returns those that a call is for: all where it names none.
func (c *call) roles(named []string) []string {
	if len(named) == 0 {
		return c.framework.Roles()
	}
	return named
}

func revive(c *call) error {
	roles := c.roles(c.GetRevive().GetRoles())
	return c.suppress(func(was []string) []string {
		return slices.DeleteFunc(slices.Clone(was), func(role string) bool { return slices.Contains(roles, role) })
	}, func(o *mesos.Offer) bool { return o.Refused && (o.Inverse || slices.Contains(roles, o.Role)) })
}

func suppress(c *call) error {
	roles := c.roles(c.GetSuppress().GetRoles())
	return c.suppress(func(was []string) []string {
		next := slices.Clone(was)
		for _, role := range roles {
			if slices.Contains(c.framework.Roles(), role) && !slices.Contains(next, role) {
				next = append(next, role)
			}
		}
		return slices.Sorted(slices.Values(next))
	}, func(*mesos.Offer) bool { return false })
}

// suppress changes which roles want no offers, and drops filters.
func (c *call) suppress(change func([]string) []string, drop func(*mesos.Offer) bool) error {
	id := c.framework.Spec.ID
	return c.write(func(tx *store.Tx) error {
		f, ok := tables.MesosFramework(tx, id)
		if !ok || f.Status.Removed != nil {
			return nil
		}
		for row := range tables.MesosOffers.By(tx, tables.MesosByFramework, id) {
			if drop(row.Object()) {
				tables.MesosOffers.Delete(tx, row.Key())
			}
		}
		next := change(f.Spec.Suppressed)
		if slices.Equal(next, f.Spec.Suppressed) {
			return nil
		}
		f.Spec.Suppressed = next
		return tables.PutMesosFramework(tx, f)
	})
}

// teardown has mesos/frameworks remove the framework at once.
func teardown(c *call) error {
	id := c.framework.Spec.ID
	return c.write(func(tx *store.Tx) error {
		f, ok := tables.MesosFramework(tx, id)
		if !ok || f.Status.Removed != nil {
			return nil
		}
		now := metav1.NewTime(tx.Now())
		f.Status.RemoveAt = &now
		return tables.PutMesosFramework(tx, f)
	})
}

func kill(c *call) error {
	k := c.GetKill()
	framework, task := c.framework, k.GetTaskId().GetValue()
	var grace *time.Duration
	if p := k.GetKillPolicy().GetGracePeriod(); p != nil {
		wait := max(0, time.Duration(p.GetNanoseconds()))
		grace = &wait
	}
	return c.write(func(tx *store.Tx) error {
		t, ok := tables.MesosTasks.Get(tx, object.Key{Namespace: framework.Spec.ID, Name: task})
		switch {
		case !ok || t.Completed != nil:
			answer(tx, framework, task, k.GetAgentId().GetValue())
			return nil
		case k.AgentId != nil && k.GetAgentId().GetValue() != t.Agent:
			return nil
		}
		next := t.Clone()
		next.Kill = &mesos.Kill{Grace: grace, By: mesosv1.TaskStatus_SOURCE_EXECUTOR, Times: 1}
		if t.Kill != nil {
			next.Kill.Times = t.Kill.Times + 1
		}
		tables.MesosTasks.Put(tx, next)
		if t.Unreachable != nil { // it ends when its agent is back: until then that is all there is to tell
			notify(tx, framework.Spec.ID, updateEvent(latest(tx, t)))
		}
		return nil
	})
}

// shutdown has an executor end, and all its tasks.
func shutdown(c *call) error {
	s, f := c.GetShutdown(), c.framework
	agent, executor := s.GetAgentId().GetValue(), s.GetExecutorId().GetValue()
	return c.write(func(tx *store.Tx) error {
		for row := range tables.MesosTasks.Rows(tx, f.Spec.ID) {
			t := row.Object()
			if t.Completed != nil || t.Kill != nil || t.Agent != agent || t.ExecutorID() != executor {
				continue
			}
			next := t.Clone()
			next.Kill = &mesos.Kill{Shutdown: true, By: mesosv1.TaskStatus_SOURCE_EXECUTOR, Times: 1}
			tables.MesosTasks.Put(tx, next)
		}
		for row := range tables.Pods.By(tx, tables.OwnerIndex, string(f.UID)) { // it may have no task
			if row.Head().Deleting {
				continue
			}
			pod := row.Object()
			if e := mesos.ExecutorOf(pod); e == nil || e.GetExecutorId().GetValue() != executor || pod.Annotations[mesos.AgentAnnotation] != agent {
				continue
			}
			next := pod.DeepCopy()
			remove, changed := object.Deletion{Now: tx.Now(), Policy: metav1.DeletePropagationBackground}.Mark(next)
			switch {
			case remove:
				tables.Pods.Delete(tx, row.Key())
			case changed:
				tables.Pods.Put(tx, next)
			}
		}
		return nil
	})
}

const uuidBytes = 16

func acknowledge(c *call) error {
	a := c.GetAcknowledge()
	if len(a.GetUuid()) != uuidBytes {
		return codec.NotValid(c.Call, fmt.Sprintf("Not a valid UUID: %d bytes", len(a.GetUuid())))
	}
	key := object.Key{Namespace: c.framework.Spec.ID, Name: a.GetTaskId().GetValue()}
	return c.write(func(tx *store.Tx) error {
		t, ok := tables.MesosTasks.Get(tx, key)
		if !ok || len(t.Pending) == 0 || !bytes.Equal(t.Pending[0].GetUuid(), a.GetUuid()) || t.Agent != a.GetAgentId().GetValue() {
			return nil // it is acknowledged already, or nobody sent it
		}
		next := t.Clone()
		next.Pending = slices.Clone(t.Pending[1:])
		tables.MesosTasks.Put(tx, next)
		return nil
	})
}

func acknowledgeOperation(c *call) error {
	a := c.GetAcknowledgeOperationStatus()
	if a.AgentId == nil {
		return codec.NotValid(c.Call, "Expecting 'agent_id' to be present")
	}
	if len(a.GetUuid()) != uuidBytes {
		return codec.NotValid(c.Call, fmt.Sprintf("Not a valid UUID: %d bytes", len(a.GetUuid())))
	}
	framework := c.framework.Spec.ID
	return c.write(func(tx *store.Tx) error {
		for n := range tables.MesosNotices.In(tx, framework) {
			s := n.Event.GetUpdateOperationStatus().GetStatus()
			if bytes.Equal(s.GetUuid().GetValue(), a.GetUuid()) && s.GetOperationId().GetValue() == a.GetOperationId().GetValue() {
				tables.MesosNotices.Delete(tx, object.KeyOf(n))
			}
		}
		f, ok := tables.MesosFramework(tx, framework)
		if !ok || !f.Settle(a.GetOperationId().GetValue(), a.GetUuid()) {
			return nil
		}
		return tables.PutMesosFramework(tx, f)
	})
}

// message sends data to an executor, which may not be there: best effort.
func message(c *call) error {
	if c.door.cfg.ToExecutor == nil {
		return codec.Refuse(http.StatusNotImplemented, "there are no executors that take messages")
	}
	m := c.GetMessage()
	c.door.cfg.ToExecutor(m.GetAgentId().GetValue(), c.framework.Spec.ID, m.GetExecutorId().GetValue(), m.GetData())
	return nil
}
