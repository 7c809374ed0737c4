package mesos

import (
	"fmt"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/tables"
)

// change is what an operation makes of resources.
type change struct{ from, to resource.List }

// move does an operation that makes other resources of what was offered, and answers it
// where it has an id.
func (a *accept) move(op *mesosv1.Offer_Operation) error {
	c, err := a.changeOf(op)
	if err == nil && !a.left.Contains(c.from) {
		err = fmt.Errorf("%s is not among the offered resources %s", c.from, a.left)
	}
	if err != nil {
		return a.told(op, mesosv1.OperationState_OPERATION_ERROR, err.Error(), nil)
	}
	a.left = a.left.Minus(c.from).Plus(c.to)
	a.made = a.made.Minus(c.from).Plus(c.to)
	agent, ok := tables.MesosAgent(a.tx, a.node)
	if !ok {
		return fmt.Errorf("reading the agent of node %s: it cannot be read any more", a.node)
	}
	a.agent = agent // its own copy, to change
	reserved, err := mesos.Reserved(a.agent)
	if err != nil {
		return err
	}
	mesos.SetReserved(a.agent, reserved.Minus(c.from).Plus(c.to.Where((*resource.Resource).Dynamic)))
	if err := tables.PutMesosAgent(a.tx, a.agent); err != nil {
		return err
	}
	if op.GetType() == mesosv1.Offer_Operation_DESTROY {
		for i := range c.from {
			a.destroy(&c.from[i])
		}
	}
	return a.told(op, mesosv1.OperationState_OPERATION_FINISHED, "", c.to)
}

// destroy takes the data of a persistent volume away.
func (a *accept) destroy(r *resource.Resource) {
	key := object.Key{Namespace: mesos.Namespace(a.role), Name: mesos.VolumeName(a.agent.Status.ID, r.Volume.ID)}
	if at := tables.SwarmVolumeKey(key); r.Persistent() {
		tables.CustomObjects.Delete(a.tx, at)
	}
}

// changeOf returns what the operation makes of which resources (Mesos, master/validation.cpp
// and docs "Reservation", "Persistent Volumes").
func (a *accept) changeOf(op *mesosv1.Offer_Operation) (c change, err error) {
	switch op.GetType() {
	case mesosv1.Offer_Operation_RESERVE:
		return a.reserve(op.GetReserve())
	case mesosv1.Offer_Operation_UNRESERVE:
		if c.from, err = a.list("unreserve.resources", op.GetUnreserve().GetResources()); err != nil {
			return c, err
		}
		for i := range c.from {
			switch r := &c.from[i]; {
			case !r.Dynamic():
				return c, fmt.Errorf("unreserve.resources: %s is not dynamically reserved", r)
			case r.Persistent():
				return c, fmt.Errorf("unreserve.resources: %s is a persistent volume: destroy it first", r)
			}
		}
		c.to = c.from.Unreserve()
		return c, nil
	case mesosv1.Offer_Operation_CREATE:
		if c.to, err = a.volumes("create.volumes", op.GetCreate().GetVolumes()); err != nil {
			return c, err
		}
		c.from = unmade(c.to)
		return c, a.fresh(c.to)
	case mesosv1.Offer_Operation_DESTROY:
		if c.from, err = a.volumes("destroy.volumes", op.GetDestroy().GetVolumes()); err != nil {
			return c, err
		}
		c.to = unmade(c.from)
		return c, a.unused(c.from)
	case mesosv1.Offer_Operation_GROW_VOLUME:
		return a.grow(op.GetGrowVolume())
	case mesosv1.Offer_Operation_SHRINK_VOLUME:
		return a.shrink(op.GetShrinkVolume())
	}
	return c, fmt.Errorf("%v cannot be done: there are no disks of CSI plugins here", op.GetType())
}

func (a *accept) list(field string, messages []*mesosv1.Resource) (resource.List, error) {
	list, err := resource.From(field, messages)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s: is empty", field)
	}
	return list.AllocatedTo(""), err
}

func (a *accept) reserve(r *mesosv1.Offer_Operation_Reserve) (c change, err error) {
	if c.to, err = a.list("reserve.resources", r.GetResources()); err != nil {
		return c, err
	}
	for i := range c.to {
		one := &c.to[i]
		switch by := one.Reservations; {
		case !one.Dynamic():
			return c, fmt.Errorf("reserve.resources: %s is not dynamically reserved", one)
		case one.Revocable:
			return c, fmt.Errorf("reserve.resources: %s is revocable", one)
		case one.Role() == mesos.Everyone || one.Role() == "":
			return c, fmt.Errorf("reserve.resources: %s cannot be reserved for role *", one)
		case one.Role() != a.role && !resource.Above(a.role, one.Role()):
			return c, fmt.Errorf("reserve.resources: a reservation for role %s cannot be made of an offer to role %s", one.Role(), a.role)
		case by[len(by)-1].Principal != a.f.Spec.Info.M.GetPrincipal():
			return c, fmt.Errorf("reserve.resources: the reservation's principal %q is not the framework's %q", by[len(by)-1].Principal, a.f.Spec.Info.M.GetPrincipal())
		}
	}
	if c.from = c.to.Unreserve(); len(r.GetSource()) > 0 {
		if c.from, err = a.list("reserve.source", r.GetSource()); err == nil && !c.from.Plain().Equal(c.to.Plain()) {
			err = fmt.Errorf("reserve.source: %s is not as much as %s", c.from, c.to)
		}
	}
	return c, err
}

// volumes reads persistent volumes.
func (a *accept) volumes(field string, messages []*mesosv1.Resource) (resource.List, error) {
	list, err := a.list(field, messages)
	if err != nil {
		return nil, err
	}
	for i := range list {
		switch r := &list[i]; {
		case !r.Persistent():
			return nil, fmt.Errorf("%s: %s is no persistent volume", field, r)
		case !r.Reserved():
			return nil, fmt.Errorf("%s: %s is not reserved: persistent volumes are made of reserved disk", field, r)
		}
	}
	return list, nil
}

// unmade returns the disk that volumes are made of.
func unmade(volumes resource.List) (disk resource.List) {
	for i := range volumes {
		one := volumes[i]
		v := resource.Volume{Source: one.Volume.Source}
		if one.Volume, one.Shared = &v, false; v == (resource.Volume{}) {
			one.Volume = nil
		}
		disk = disk.Plus(resource.List{one})
	}
	return disk
}

// fresh says which of the volumes are there already.
func (a *accept) fresh(volumes resource.List) error {
	have, err := mesos.Reserved(a.agent)
	if err != nil {
		return err
	}
	for i := range volumes {
		for j := range have {
			if have[j].Persistent() && have[j].Volume.ID == volumes[i].Volume.ID && have[j].Role() == volumes[i].Role() {
				return fmt.Errorf("create.volumes: a persistent volume with ID %q is there already", volumes[i].Volume.ID)
			}
		}
	}
	return nil
}

// unused says which of the volumes a task has: of a shared one others may.
func (a *accept) unused(volumes resource.List) error {
	for row := range tables.MesosTasks.By(a.tx, tables.MesosByNode, a.node) {
		t := row.Object()
		if t.Completed != nil || !t.Holds() {
			continue
		}
		for _, r := range t.Info.GetResources() {
			for i := range volumes {
				if p := r.GetDisk().GetPersistence(); p != nil && p.GetId() == volumes[i].Volume.ID {
					return fmt.Errorf("destroy.volumes: persistent volume %q is in use by task %s", p.GetId(), t.Name)
				}
			}
		}
	}
	return nil
}

// grow and shrink change the size of a volume.
func (a *accept) grow(g *mesosv1.Offer_Operation_GrowVolume) (c change, err error) {
	volume, err := a.sizeable("grow_volume", g.GetVolume())
	if err != nil {
		return c, err
	}
	more, err := a.list("grow_volume.addition", []*mesosv1.Resource{g.GetAddition()})
	if err != nil {
		return c, err
	}
	if !more.Equal(unmade(resized(volume, more[0].Scalar))) {
		return c, fmt.Errorf("grow_volume.addition: %s is no disk of the kind that %s is made of", more, volume)
	}
	return change{volume.Plus(more), resized(volume, volume[0].Scalar+more[0].Scalar)}, nil
}

func (a *accept) shrink(s *mesosv1.Offer_Operation_ShrinkVolume) (c change, err error) {
	volume, err := a.sizeable("shrink_volume", s.GetVolume())
	if err != nil {
		return c, err
	}
	less, err := resource.Thousandths(s.GetSubtract().GetValue())
	if err != nil || less <= 0 || less >= volume[0].Scalar {
		return c, fmt.Errorf("shrink_volume.subtract: %v is not less than the volume, and more than 0", s.GetSubtract().GetValue())
	}
	rest := resized(volume, volume[0].Scalar-less)
	return change{volume, rest.Plus(unmade(resized(volume, less)))}, nil
}

func (a *accept) sizeable(field string, m *mesosv1.Resource) (resource.List, error) {
	volume, err := a.volumes(field+".volume", []*mesosv1.Resource{m})
	switch {
	case err != nil:
		return nil, err
	case volume[0].Shared:
		return nil, fmt.Errorf("%s.volume: a shared volume keeps its size", field)
	}
	return volume, nil
}

func resized(volume resource.List, to int64) resource.List {
	one := volume[0]
	one.Scalar = to
	return resource.List{one}
}

// told answers an operation where its framework wants to know.
func (a *accept) told(op *mesosv1.Offer_Operation, state mesosv1.OperationState, message string, made resource.List) error {
	if op.Id == nil {
		return nil
	}
	s := &mesosv1.OperationStatus{
		OperationId: op.Id, State: state.Enum(), AgentId: &mesosv1.AgentID{Value: agentOf(a)},
		ConvertedResources: made.AllocatedTo(a.role).Messages(a.f.Has(mesosv1.FrameworkInfo_Capability_RESERVATION_REFINEMENT)),
	}
	if message != "" {
		s.Message = &message
	}
	if state == mesosv1.OperationState_OPERATION_FINISHED {
		s.Uuid = &mesosv1.UUID{Value: mesos.Digest(a.f.Spec.ID, op.Id.GetValue(), a.tx.NewID())}
	}
	operated(a.tx, a.f.Spec.ID, s)
	f, ok := tables.MesosFramework(a.tx, a.f.Spec.ID)
	if s.Uuid == nil || !ok {
		return nil // nobody acknowledges it
	}
	f.Owe(s)
	return tables.PutMesosFramework(a.tx, f)
}

func agentOf(a *accept) *string {
	id := ""
	if len(a.offers) > 0 {
		id = a.offers[0].Agent
	}
	return &id
}
