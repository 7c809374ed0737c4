package mesos

import (
	"net/http"

	"trireme/internal/api/basic"
	"trireme/internal/mesos/codec"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const (
	// streamHeader names the stream that a call belongs to.
	streamHeader = "Mesos-Stream-Id"
	// callMax bounds a call, in bytes: an ACCEPT of some thousand tasks fits.
	callMax = 64 << 20
)

// call is one call of a framework that has subscribed.
type call struct {
	*http.Request
	*scheduler.Call
	door      *Server
	who       basic.Caller
	framework *mesos.Framework
}

// calls are those that are answered with 202.
var calls = map[scheduler.Call_Type]func(*call) error{
	scheduler.Call_TEARDOWN: teardown, scheduler.Call_ACCEPT: accept, scheduler.Call_DECLINE: decline,
	scheduler.Call_ACCEPT_INVERSE_OFFERS: acceptInverse, scheduler.Call_DECLINE_INVERSE_OFFERS: declineInverse,
	scheduler.Call_REVIVE: revive, scheduler.Call_SUPPRESS: suppress, scheduler.Call_KILL: kill, scheduler.Call_SHUTDOWN: shutdown,
	scheduler.Call_ACKNOWLEDGE: acknowledge, scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS: acknowledgeOperation,
	scheduler.Call_RECONCILE: reconcile, scheduler.Call_RECONCILE_OPERATIONS: reconcileOperations,
	scheduler.Call_MESSAGE: message, scheduler.Call_REQUEST: func(*call) error { return nil }, // as the built-in allocator of Mesos
}

// scheduler answers POST /api/v1/scheduler.
func (s *Server) scheduler(w http.ResponseWriter, req *http.Request) {
	if err := s.serveCall(w, req); err != nil {
		s.fail(w, err)
	}
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, err error) {
	r := codec.RefusalOf(err)
	if r.Status == http.StatusUnauthorized {
		s.cfg.Auth.Challenge(w)
	}
	r.Write(w)
}

func (s *Server) serveCall(w http.ResponseWriter, req *http.Request) error {
	who, err := s.cfg.Auth.Who(req)
	if err != nil {
		return err
	}
	c := &call{Request: req, Call: &scheduler.Call{}, door: s, who: who}
	if err := codec.Decode(req, c.Call, callMax); err != nil {
		return err
	}
	if err := c.complete(); err != nil {
		return err
	}
	if c.GetType() == scheduler.Call_SUBSCRIBE {
		return s.subscribe(w, c)
	}
	do, known := calls[c.GetType()]
	if !known && c.GetType() != scheduler.Call_UPDATE_FRAMEWORK {
		return codec.Refuse(http.StatusNotImplemented, "Received 'UNKNOWN' call")
	}
	if err := c.subscribed(); err != nil {
		return err
	}
	if !known {
		if err := updateFramework(c); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if err := do(c); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// complete says what a call lacks (Mesos, master/validation.cpp).
func (c *call) complete() error {
	if c.Type == nil {
		return codec.NotValid(c.Call, "Expecting 'type' to be present")
	}
	has := map[scheduler.Call_Type]struct {
		name string
		is   bool
	}{
		scheduler.Call_SUBSCRIBE: {"subscribe", c.Subscribe != nil}, scheduler.Call_ACCEPT: {"accept", c.Accept != nil},
		scheduler.Call_DECLINE: {"decline", c.Decline != nil}, scheduler.Call_KILL: {"kill", c.Kill != nil},
		scheduler.Call_ACCEPT_INVERSE_OFFERS:  {"accept_inverse_offers", c.AcceptInverseOffers != nil},
		scheduler.Call_DECLINE_INVERSE_OFFERS: {"decline_inverse_offers", c.DeclineInverseOffers != nil},
		scheduler.Call_SHUTDOWN:               {"shutdown", c.Shutdown != nil}, scheduler.Call_ACKNOWLEDGE: {"acknowledge", c.Acknowledge != nil},
		scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS: {"acknowledge_operation_status", c.AcknowledgeOperationStatus != nil},
		scheduler.Call_RECONCILE:                    {"reconcile", c.Reconcile != nil}, scheduler.Call_MESSAGE: {"message", c.Message != nil},
		scheduler.Call_RECONCILE_OPERATIONS: {"reconcile_operations", c.ReconcileOperations != nil}, scheduler.Call_REQUEST: {"request", c.GetRequest() != nil},
		scheduler.Call_UPDATE_FRAMEWORK: {"update_framework", c.UpdateFramework != nil},
	}
	if part, ok := has[c.GetType()]; ok && !part.is {
		return codec.NotValid(c.Call, "Expecting '"+part.name+"' to be present")
	}
	if c.GetType() != scheduler.Call_SUBSCRIBE && c.GetType() != scheduler.Call_UNKNOWN && c.GetFrameworkId().GetValue() == "" {
		return codec.NotValid(c.Call, "Expecting 'framework_id' to be present")
	}
	return nil
}

// subscribed says no to calls of who has not subscribed (Mesos, master/http.cpp).
func (c *call) subscribed() error {
	id, header := c.GetFrameworkId().GetValue(), c.Header.Get(streamHeader)
	f, ok := c.door.framework(id)
	switch {
	case !ok || f.Status.Removed != nil:
		return codec.Refuse(http.StatusBadRequest, "Framework cannot be found")
	case f.Spec.User != c.who.Name:
		return codec.Refuse(http.StatusBadRequest, "Authenticated principal '%s' does not match principal '%s' set in `FrameworkInfo`", c.who.Principal, f.Spec.User)
	}
	c.framework = f
	s := c.door.streamOf(id)
	switch {
	case s == nil:
		return codec.Refuse(http.StatusForbidden, "Framework is not subscribed")
	case header == "":
		return codec.Refuse(http.StatusBadRequest, "All non-subscribe calls should include the '%s' header", streamHeader)
	case header != s.id:
		return codec.Refuse(http.StatusBadRequest, "The stream ID '%.128s' included in this request didn't match the stream ID currently associated with framework ID %s", header, id)
	}
	return nil
}

// framework returns the framework of an id as it is now, read once for as long as it stays
// the same: a framework calls thousands of times a second.
func (s *Server) framework(id string) (*mesos.Framework, bool) {
	row, ok := tables.CustomObjects.Row(s.store.Snapshot(), tables.MesosFrameworkKey(id))
	if !ok {
		s.read.Delete(id)
		return nil, false
	}
	if was, ok := s.read.Load(id); ok && was.(known).rev == row.Rev() {
		return was.(known).f, true
	}
	f, err := mesos.FrameworkFrom(row.Object())
	if err != nil || f.Spec.ID != id {
		return nil, false
	}
	s.read.Store(id, known{row.Rev(), f})
	return f, true
}

// known is a framework as it was read.
type known struct {
	rev store.Rev
	f   *mesos.Framework
}

// write queues what the call writes.
func (c *call) write(do change) error { return c.door.writer.put(c.Context(), do) }
