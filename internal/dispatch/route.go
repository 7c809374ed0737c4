package dispatch

import (
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// sendRoute sends a route, or that it is gone, and counts the secrets that its
// certificates are in.
func (s *session) sendRoute(out *outbox, snap *store.Snapshot, key object.Key) error {
	at := key.String()
	was := s.routes[at]
	delete(s.routes, at)
	var encoded []byte
	if row, ok := tables.Routes.Row(snap, key); ok {
		encoded = row.Encoded()
		var secrets []item
		row.Object().Secrets(func(secret object.Key) {
			i := item{tables.Secrets.ID(), secret.String()}
			secrets = append(secrets, i)
			s.need(out, i)
		})
		s.routes[at] = secrets
	}
	out.release = append(out.release, was...)
	return out.put(wire.NewAssignment(string(tables.Routes.ID()), key, encoded))
}
