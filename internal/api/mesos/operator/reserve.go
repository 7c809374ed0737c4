package operator

import (
	"slices"

	"trireme/internal/kind"
	mesosres "trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/object/mesos"
)

// reservations changes what is reserved on an agent: of what is free there, takes
// away from, and adds to. Offers of it that are out are rescinded by the loop that
// made them.
func (s *Server) reservations(r *Request, id *mesosv1.AgentID, change func(free mesosres.List) (from, to mesosres.List, err error)) error {
	a, err := s.known(r, id.GetValue())
	if err != nil {
		return err
	}
	return r.changeAgent(a.Name, func(now *mesos.Agent) error {
		v := s.look(r)
		seen := v.byNode[now.Name]
		if seen == nil {
			return kind.New(kind.NotFound, "agent %s has gone", id.GetValue())
		}
		free := mesos.Total(seen.node, now).Minus(plain(seen.used))
		from, to, err := change(free)
		if err != nil {
			return err
		}
		if !free.Contains(from) {
			return kind.New(kind.Conflict, "agent %s has not %s free: it is used, reserved otherwise, or not there; free is %s", id.GetValue(), from, free)
		}
		// What was reserved statically, or not at all, is not written down.
		reserved, err := mesos.Reserved(now)
		if err != nil {
			return err
		}
		reserved = reserved.Minus(from).Plus(to.Where(func(r *mesosres.Resource) bool { return r.Dynamic() || r.Persistent() }))
		mesos.SetReserved(now, reserved)
		return nil
	})
}

func reserveCall(s *Server, r *Request, call *master.Call) error {
	c := call.GetReserveResources()
	want, err := parts("resources", c.GetResources())
	if err != nil {
		return err
	}
	source, err := mesosres.From("source", c.GetSource())
	if err != nil {
		return err
	}
	for _, one := range want {
		if err := r.mayReserve(&one); err != nil {
			return err
		}
	}
	return s.reservations(r, c.GetAgentId(), func(mesosres.List) (from, to mesosres.List, err error) {
		if from = want.Unreserve(); len(source) > 0 {
			if from = source; !from.Plain().Equal(want.Plain()) {
				return nil, nil, kind.New(kind.Invalid, "source: %s is not as much as resources: %s", from, want)
			}
		}
		return from, want, nil
	})
}

// mayReserve checks one resource that is to be reserved.
func (r *Request) mayReserve(one *mesosres.Resource) error {
	switch {
	case !one.Dynamic():
		return kind.New(kind.Invalid, "resources: %s is not reserved dynamically: give it a reservation of type DYNAMIC", one)
	case one.Revocable:
		return kind.New(kind.Invalid, "resources: %s is revocable and cannot be reserved", one)
	case one.Persistent():
		return kind.New(kind.Invalid, "resources: %s is a persistent volume: reserve the disk, then create it", one)
	}
	principal := one.Reservations[len(one.Reservations)-1].Principal
	if !r.Who.Is(principal) {
		return kind.New(kind.Denied, "resources: %s is for principal %q, you are %q", one, principal, r.Who.Principal)
	}
	return nil
}

func unreserveCall(s *Server, r *Request, call *master.Call) error {
	c := call.GetUnreserveResources()
	have, err := parts("resources", c.GetResources())
	if err != nil {
		return err
	}
	for _, one := range have {
		if !one.Dynamic() || one.Persistent() {
			return kind.New(kind.Invalid, "resources: %s: only what is reserved dynamically, and is no volume, can be unreserved", one)
		}
	}
	return s.reservations(r, c.GetAgentId(), func(mesosres.List) (from, to mesosres.List, err error) { return have, have.Unreserve(), nil })
}

func createCall(s *Server, r *Request, call *master.Call) error {
	c := call.GetCreateVolumes()
	volumes, err := parts("volumes", c.GetVolumes())
	if err != nil {
		return err
	}
	var from mesosres.List
	for _, v := range volumes {
		switch {
		case !v.Persistent():
			return kind.New(kind.Invalid, "volumes: %s is no persistent volume: give it disk.persistence and disk.volume", v)
		case !v.Reserved():
			return kind.New(kind.Invalid, "volumes: %s is not reserved: reserve the disk first", v)
		case v.Volume.ReadOnly:
			return kind.New(kind.Invalid, "volumes: %s: disk.volume.mode is RO, and has to be RW", v)
		case !r.Who.Is(v.Volume.Principal):
			return kind.New(kind.Denied, "volumes: %s is for principal %q, you are %q", v, v.Volume.Principal, r.Who.Principal)
		}
		from = from.Plus(mesosres.List{withoutVolume(v)})
	}
	return s.reservations(r, c.GetAgentId(), func(free mesosres.List) (mesosres.List, mesosres.List, error) {
		for i, v := range volumes {
			same := func(have mesosres.Resource) bool {
				return have.Persistent() && have.Volume.ID == v.Volume.ID && have.Role() == v.Role()
			}
			if slices.ContainsFunc(free, same) || slices.ContainsFunc(volumes[:i], same) {
				return nil, nil, kind.New(kind.Exists, "volumes: %s: role %s has a volume of this id on the agent", v, v.Role())
			}
		}
		return from, volumes, nil
	})
}

func destroyCall(s *Server, r *Request, call *master.Call) error {
	c := call.GetDestroyVolumes()
	volumes, err := parts("volumes", c.GetVolumes())
	if err != nil {
		return err
	}
	var to mesosres.List
	for _, v := range volumes {
		if !v.Persistent() {
			return kind.New(kind.Invalid, "volumes: %s is no persistent volume", v)
		}
		to = to.Plus(mesosres.List{withoutVolume(v)})
	}
	return s.reservations(r, c.GetAgentId(), func(mesosres.List) (mesosres.List, mesosres.List, error) { return volumes, to, nil })
}

func growCall(s *Server, r *Request, call *master.Call) error {
	c := call.GetGrowVolume()
	volume, err := theVolume(c.GetVolume())
	if err != nil {
		return err
	}
	addition, err := parts("addition", []*mesosv1.Resource{c.GetAddition()})
	if err != nil {
		return err
	}
	if !addition.Equal(mesosres.List{sized(withoutVolume(volume), addition[0].Scalar)}) {
		return kind.New(kind.Invalid, "addition: %s is not disk that is reserved as the volume %s is", addition, volume)
	}
	return s.reservations(r, c.GetAgentId(), func(mesosres.List) (mesosres.List, mesosres.List, error) {
		return mesosres.List{volume}.Plus(addition), mesosres.List{sized(volume, volume.Scalar+addition[0].Scalar)}, nil
	})
}

func shrinkCall(s *Server, r *Request, call *master.Call) error {
	c := call.GetShrinkVolume()
	volume, err := theVolume(c.GetVolume())
	if err != nil {
		return err
	}
	less, err := mesosres.Thousandths(c.GetSubtract().GetValue())
	if err != nil {
		return err
	}
	if less <= 0 || less >= volume.Scalar {
		return kind.New(kind.Invalid, "subtract: %g is not between 0 and the size of the volume, %g", mesosres.Number(less), mesosres.Number(volume.Scalar))
	}
	return s.reservations(r, c.GetAgentId(), func(mesosres.List) (mesosres.List, mesosres.List, error) {
		return mesosres.List{volume}, mesosres.List{sized(volume, volume.Scalar-less)}.Plus(mesosres.List{sized(withoutVolume(volume), less)}), nil
	})
}

// theVolume is the one that grows or shrinks.
func theVolume(m *mesosv1.Resource) (mesosres.Resource, error) {
	l, err := parts("volume", []*mesosv1.Resource{m})
	if err != nil {
		return mesosres.Resource{}, err
	}
	v := l[0]
	if !v.Persistent() || v.Shared || v.Volume.Source.Kind == mesosres.MountDisk {
		return v, kind.New(kind.Invalid, "volume: %s: only a persistent volume that is neither shared nor on a mounted disk can be resized", v)
	}
	return v, nil
}

// parts reads the resources of an operation, of which there is at least one and none
// is marked as anybody's.
func parts(field string, all []*mesosv1.Resource) (mesosres.List, error) {
	l, err := mesosres.From(field, all)
	if err != nil {
		return nil, err
	}
	if len(l) == 0 {
		return nil, kind.New(kind.Invalid, "%s: is empty", field)
	}
	return plain(l), nil
}

// withoutVolume is the disk that a volume is on.
func withoutVolume(r mesosres.Resource) mesosres.Resource {
	if !r.Persistent() {
		return r
	}
	source := r.Volume.Source
	r.Volume, r.Shared = nil, false
	if source.Kind != mesosres.RootDisk {
		r.Volume = &mesosres.Volume{Source: source}
	}
	return r
}

func sized(r mesosres.Resource, thousandths int64) mesosres.Resource {
	r.Scalar = thousandths
	return r
}
