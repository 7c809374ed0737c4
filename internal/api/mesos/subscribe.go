package mesos

import (
	"context"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/access"
	"trireme/internal/admit"
	"trireme/internal/api/basic"
	"trireme/internal/mesos/codec"
	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/object/sandbox"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// rejection is why a SUBSCRIBE is refused for its content: the stream says so and ends.
type rejection string

func (r rejection) Error() string { return string(r) }

// subscribe answers a SUBSCRIBE: with the stream, for as long as it lasts.
func (s *Server) subscribe(w http.ResponseWriter, c *call) error {
	if len(c.Header.Values(streamHeader)) > 0 {
		return codec.Refuse(http.StatusBadRequest, "Subscribe calls should not include the '%s' header", streamHeader)
	}
	media, err := codec.Accept(c.Header, "Accept")
	if err != nil {
		return err
	}
	info := c.GetSubscribe().GetFrameworkInfo()
	if id := c.GetFrameworkId().GetValue(); id != "" && id != info.GetId().GetValue() {
		return codec.NotValid(c.Call, "'framework_id' differs from 'subscribe.framework_info.id'")
	}
	wanted := subscription{info, c.GetSubscribe().GetSuppressedRoles(), c.GetSubscribe().GetOfferConstraints()}
	id := uuid.NewString()
	f, err := s.register(c, wanted, id)
	if why, ok := err.(rejection); ok {
		return s.reject(w, media, id, string(why))
	}
	if err != nil {
		return err
	}
	w.Header().Set(streamHeader, id)
	out, err := codec.Open(w, media, patience)
	if err != nil {
		return nil // the client has gone: there is nobody to tell
	}
	st := newStream(s, f, id, out)
	s.enter(st)
	defer s.leave(c.Context(), st)
	st.run(c.Context())
	return nil
}

// reject opens a stream that says why there is none.
func (s *Server) reject(w http.ResponseWriter, media codec.Media, id, why string) error {
	w.Header().Set(streamHeader, id)
	out, err := codec.Open(w, media, patience)
	if err == nil {
		err = out.Send(errorEvent(why))
	}
	if err != nil {
		s.cfg.Log.Debug("refusing a framework", "err", err)
	}
	return nil
}

func errorEvent(why string) *scheduler.Event {
	return &scheduler.Event{Type: scheduler.Event_ERROR.Enum(), Error: &scheduler.Event_Error{Message: &why}}
}

// subscription is what a framework says of itself.
type subscription struct {
	info        *mesosv1.FrameworkInfo
	suppressed  []string
	constraints *scheduler.OfferConstraints
}

// check returns what is wrong with it (Mesos, master/validation.cpp and master.cpp).
func (w *subscription) check(who basic.Caller) error {
	i := w.info
	probe := &mesos.Framework{}
	probe.Spec.Info.M = i
	multi := probe.Has(mesosv1.FrameworkInfo_Capability_MULTI_ROLE)
	switch {
	case multi && i.Role != nil:
		return rejection("'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable")
	case !multi && len(i.GetRoles()) > 0:
		return rejection("'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable")
	case math.IsNaN(i.GetFailoverTimeout()) || i.GetFailoverTimeout() < 0 || i.GetFailoverTimeout() > math.MaxInt64/1e9:
		return rejection("The framework failover_timeout is invalid: it is 0 to 9223372036 seconds")
	case !who.Is(i.GetPrincipal()):
		return rejection("Framework principal '" + i.GetPrincipal() + "' does not match authenticated principal '" + who.Principal + "'")
	}
	if id := i.GetId().GetValue(); id != "" {
		if err := sandbox.CheckID("framework_info.id", id); err != nil {
			return rejection(err.Error())
		}
	}
	roles := probe.Roles()
	for n, role := range roles {
		if err := resource.CheckRole(role); err != nil {
			return rejection("Invalid role '" + role + "': " + err.Error())
		}
		if slices.Contains(roles[:n], role) {
			return rejection("'FrameworkInfo.roles' contains duplicate items: " + role)
		}
	}
	for _, role := range w.suppressed {
		if !slices.Contains(roles, role) {
			return rejection("Suppressed role '" + role + "' is not contained in the framework's roles {" + strings.Join(roles, ", ") + "}")
		}
	}
	if err := mesos.CheckConstraints(w.constraints, roles); err != nil {
		return rejection("Framework's offer constraints are not valid: " + err.Error())
	}
	return nil
}

// allowed says which of the roles the caller may not have.
func (s *Server) allowed(who basic.Caller, roles []string) error {
	for _, role := range roles {
		if ok, _ := s.rules.Allows(&access.Request{User: who.User, Verb: "create", Resource: "pods", Namespace: mesos.Namespace(role)}); !ok {
			return rejection("Not authorized to use role '" + role + "': user " + who.Name + " may not create pods in namespace " + mesos.Namespace(role))
		}
	}
	return nil
}

// register writes the framework as one that is connected by the stream.
func (s *Server) register(c *call, w subscription, stream string) (f *mesos.Framework, err error) {
	if err := w.check(c.who); err != nil {
		return nil, err
	}
	probe := &mesos.Framework{}
	probe.Spec.Info.M = w.info
	if err := s.allowed(c.who, probe.Roles()); err != nil {
		return nil, err
	}
	// What its calls before asked for counts: an update that it has acknowledged does not come again.
	if err := s.writer.settle(c.Context()); err != nil {
		return nil, err
	}
	_, err = s.store.Update(c.Context(), func(tx *store.Tx) (err error) {
		if f, err = w.framework(tx, c.who); err != nil {
			return err
		}
		now := metav1.NewTime(tx.Now().Truncate(time.Second))
		f.Status.Connected, f.Status.Stream, f.Status.RemoveAt, f.Status.Disconnected = true, stream, nil, nil
		if f.Status.Registered == nil {
			f.Status.Registered = &now
		} else {
			f.Status.Reregistered = &now
		}
		for _, role := range f.Roles() {
			ensureNamespace(tx, role)
		}
		discard(tx, f.Spec.ID)
		return tables.PutMesosFramework(tx, f)
	})
	return f, err
}

// framework returns the framework that a subscription is of, new or as it was with what it
// says now. Who it is and whether it checkpoints stays (Mesos, FrameworkInfo).
func (w *subscription) framework(tx *store.Tx, who basic.Caller) (*mesos.Framework, error) {
	info := proto.Clone(w.info).(*mesosv1.FrameworkInfo)
	id := info.GetId().GetValue()
	if id == "" {
		system, ok := tables.Namespaces.Get(tx, object.Key{Name: metav1.NamespaceSystem})
		if !ok {
			return nil, codec.Refuse(http.StatusServiceUnavailable, "Master has not finished recovery")
		}
		system = system.DeepCopy()
		id = mesos.FrameworkID(mesos.MasterID(system), mesos.Next(system, mesos.FrameworksAnnotation))
		tables.Namespaces.Put(tx, system)
	}
	info.Id = &mesosv1.FrameworkID{Value: &id}
	f, ok := tables.MesosFramework(tx, id)
	switch {
	case !ok:
		f = &mesos.Framework{}
		f.Name, f.Spec.ID, f.Spec.User = mesos.FrameworkName(id), id, who.Name
	case f.Status.Removed != nil:
		return nil, rejection("Framework has been removed")
	case f.Spec.User != who.Name || f.Spec.Info.M.GetPrincipal() != info.GetPrincipal():
		return nil, rejection("Changing framework's principal is not allowed.")
	default:
		info.User, info.Checkpoint = f.Spec.Info.M.User, f.Spec.Info.M.Checkpoint
	}
	w.onto(f, info)
	return f, nil
}

func (w *subscription) onto(f *mesos.Framework, info *mesosv1.FrameworkInfo) {
	f.Spec.Info.M, f.Spec.Constraints.M = info, w.constraints
	f.Spec.Suppressed = slices.Sorted(slices.Values(w.suppressed))
}

// ensureNamespace makes the namespace of a role.
func ensureNamespace(tx *store.Tx, role string) {
	name := mesos.Namespace(role)
	if _, ok := tables.Namespaces.Row(tx, object.Key{Name: name}); ok {
		return
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if name != role {
		ns.Annotations = map[string]string{mesos.RoleAnnotation: role}
	}
	admit.Default(ns)
	admit.PrepareCreate(ns)
	tables.Namespaces.Put(tx, ns)
}

// discard takes the offers of a framework away, the refused ones too, but for those that it has
// accepted: its call is answered, and counts though its stream ends before it is taken apart.
func discard(tx *store.Tx, framework string) {
	taken := map[string]bool{}
	for a := range tables.MesosAccepts.In(tx, framework) {
		for _, id := range a.Offers {
			taken[id] = true
		}
	}
	for row := range tables.MesosOffers.By(tx, tables.MesosByFramework, framework) {
		if !taken[row.Key().Name] {
			tables.MesosOffers.Delete(tx, row.Key())
		}
	}
}

// enter makes the stream the one of its framework, unless another has come after it.
func (s *Server) enter(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := tables.MesosFramework(s.store.Snapshot(), st.framework); ok && f.Status.Stream == st.id {
		if old := s.streams[st.framework]; old != nil {
			old.changed(func(d *dirt) { d.self = true })
		}
		s.streams[st.framework] = st
	}
}

// leave says that the stream has ended.
func (s *Server) leave(ctx context.Context, st *stream) {
	s.mu.Lock()
	if s.streams[st.framework] == st {
		delete(s.streams, st.framework)
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.writer.put(ctx, func(tx *store.Tx) error {
		f, ok := tables.MesosFramework(tx, st.framework)
		if !ok || f.Status.Stream != st.id {
			return nil // another stream is its, or it was removed
		}
		return disconnect(tx, f, 0)
	}); err != nil {
		s.cfg.Log.Debug("a framework has gone", "framework", st.framework, "err", err)
	}
}

// disconnect says that nobody listens for the framework. It stays for as long as it asked, at
// the least for grace.
func disconnect(tx *store.Tx, f *mesos.Framework, grace time.Duration) error {
	wait := max(grace, time.Duration(f.Spec.Info.M.GetFailoverTimeout()*float64(time.Second)))
	now, until := metav1.NewTime(tx.Now().Truncate(time.Second)), metav1.NewTime(tx.Now().Add(wait))
	f.Status.Connected, f.Status.Stream, f.Status.Disconnected = false, "", &now
	if f.Status.RemoveAt == nil {
		f.Status.RemoveAt = &until
	}
	discard(tx, f.Spec.ID)
	for row := range tables.MesosNotices.Rows(tx, f.Spec.ID) {
		tables.MesosNotices.Delete(tx, row.Key())
	}
	return tables.PutMesosFramework(tx, f)
}

// begin notes that the streams of the manager before have ended with it.
func (s *Server) begin(ctx context.Context) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		for f := range tables.MesosFrameworks(tx) {
			if !f.Status.Connected || f.Status.Removed != nil {
				continue
			}
			if err := disconnect(tx, f, reconnectMin); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// updateFramework answers UPDATE_FRAMEWORK: all of it or nothing.
func updateFramework(c *call) error {
	u := c.GetUpdateFramework()
	if u.GetFrameworkInfo().GetId().GetValue() != c.framework.Spec.ID {
		return codec.NotValid(c.Call, "'framework_id' differs from 'update_framework.framework_info.id'")
	}
	w := subscription{u.GetFrameworkInfo(), u.GetSuppressedRoles(), u.GetOfferConstraints()}
	if err := w.check(c.who); err != nil {
		return codec.Refuse(http.StatusBadRequest, "%v", err)
	}
	old := c.framework.Spec.Info.M
	if w.info.GetUser() != old.GetUser() || w.info.GetPrincipal() != old.GetPrincipal() || w.info.GetCheckpoint() != old.GetCheckpoint() {
		return codec.Refuse(http.StatusBadRequest, "Updating 'FrameworkInfo.user', 'principal' and 'checkpoint' is not allowed")
	}
	next := &mesos.Framework{}
	next.Spec.Info.M = w.info
	if err := c.door.allowed(c.who, next.Roles()); err != nil {
		return codec.Refuse(http.StatusForbidden, "%v", err)
	}
	_, err := c.door.store.Update(c.Context(), func(tx *store.Tx) error {
		f, ok := tables.MesosFramework(tx, c.framework.Spec.ID)
		if !ok || f.Status.Removed != nil {
			return codec.Refuse(http.StatusConflict, "Framework was removed while the update was made")
		}
		was := f.Spec.Suppressed
		w.onto(f, w.info)
		roles := f.Roles()
		for _, role := range roles {
			ensureNamespace(tx, role)
		}
		for row := range tables.MesosOffers.By(tx, tables.MesosByFramework, f.Spec.ID) {
			o := row.Object()
			back := slices.Contains(was, o.Role) && !slices.Contains(f.Spec.Suppressed, o.Role)
			if !slices.Contains(roles, o.Role) && !o.Inverse || o.Refused && back {
				tables.MesosOffers.Delete(tx, row.Key())
			}
		}
		return tables.PutMesosFramework(tx, f)
	})
	return err
}
