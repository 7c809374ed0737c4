package resource

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	mesosv1 "trireme/internal/mesos/v1"
)

// From reads the resources of a message, reserved in the old form (role, reservation) or the new
// one (reservations), and checks them. Amounts of nothing are left out. The error names the field
// by the name of the list.
func From(field string, all []*mesosv1.Resource) (List, error) {
	var raw List
	for i, m := range all {
		r, err := from(m)
		if err != nil {
			return nil, fmt.Errorf("%s[%d] (%s): %w", field, i, m.GetName(), err)
		}
		raw = append(raw, r)
	}
	if err := raw.Check(field); err != nil {
		return nil, err
	}
	var out List
	for _, r := range raw {
		out = out.with(r)
	}
	return out, nil
}

func from(m *mesosv1.Resource) (r Resource, err error) {
	r = Resource{
		Name: m.GetName(), Shared: m.GetShared() != nil, Revocable: m.GetRevocable() != nil,
		Provider: m.GetProviderId().GetValue(), Allocated: m.GetAllocationInfo().GetRole(),
	}
	if r.Reservations, err = reservationsFrom(m); err != nil {
		return r, err
	}
	if r.Volume, err = volumeFrom(m.GetDisk()); err != nil {
		return r, err
	}
	return r, r.valueFrom(m)
}

func (r *Resource) valueFrom(m *mesosv1.Resource) (err error) {
	switch m.GetType() {
	case mesosv1.Value_SCALAR:
		if m.Scalar == nil {
			return invalid("scalar: is missing for type SCALAR")
		}
		if r.Scalar, err = Thousandths(m.GetScalar().GetValue()); err != nil {
			return fmt.Errorf("scalar.value: %w", err)
		}
	case mesosv1.Value_RANGES:
		if m.Ranges == nil {
			return invalid("ranges: are missing for type RANGES")
		}
		r.Kind = Ranges
		var all []Range
		for _, v := range m.GetRanges().GetRange() {
			all = append(all, Range{v.GetBegin(), v.GetEnd()})
		}
		if r.Ranges, err = checkRanges(all); err != nil {
			return fmt.Errorf("ranges: %w", err)
		}
	case mesosv1.Value_SET:
		if m.Set == nil {
			return invalid("set: is missing for type SET")
		}
		r.Kind = Set
		items := m.GetSet().GetItem()
		if r.Set = distinct(slices.Clone(items)); len(r.Set) != len(items) {
			return invalid("set: an item is there twice")
		}
	default:
		return invalid("type: %s is not one of SCALAR, RANGES, SET", m.GetType())
	}
	return nil
}

func reservationsFrom(m *mesosv1.Resource) ([]Reservation, error) {
	if len(m.GetReservations()) > 0 {
		if m.Reservation != nil {
			return nil, invalid("reservation: cannot stand beside reservations")
		}
		if m.Role != nil && m.GetRole() != "*" {
			return nil, invalid("role: cannot stand beside reservations")
		}
		var out []Reservation
		for i, v := range m.GetReservations() {
			if v.GetType() == mesosv1.Resource_ReservationInfo_UNKNOWN {
				return nil, invalid("reservations[%d].type: is neither STATIC nor DYNAMIC", i)
			}
			out = append(out, Reservation{
				Dynamic: v.GetType() == mesosv1.Resource_ReservationInfo_DYNAMIC, Role: v.GetRole(), Principal: v.GetPrincipal(), Labels: labelsText(v.GetLabels()),
			})
		}
		return out, nil
	}
	role := m.GetRole()
	if role == "*" {
		if m.Reservation != nil {
			return nil, invalid("reservation: cannot be for role *")
		}
		return nil, nil
	}
	v := Reservation{Role: role}
	if m.Reservation != nil {
		v.Dynamic, v.Principal, v.Labels = true, m.GetReservation().GetPrincipal(), labelsText(m.GetReservation().GetLabels())
	}
	return []Reservation{v}, nil
}

func volumeFrom(d *mesosv1.Resource_DiskInfo) (*Volume, error) {
	if d == nil || d.Persistence == nil && d.Source == nil && d.Volume == nil {
		return nil, nil
	}
	if d.Persistence == nil && d.Volume != nil {
		return nil, invalid("disk.volume: stands without disk.persistence")
	}
	v := &Volume{ID: d.GetPersistence().GetId(), Principal: d.GetPersistence().GetPrincipal()}
	if d.Persistence != nil {
		switch {
		case d.Volume == nil:
			return nil, invalid("disk.volume: is missing: say where the persistent volume is mounted")
		case v.ID == "":
			return nil, invalid("disk.persistence.id: is empty")
		case d.GetVolume().HostPath != nil:
			return nil, invalid("disk.volume.host_path: a persistent volume has none")
		}
		v.ContainerPath, v.ReadOnly = d.GetVolume().GetContainerPath(), d.GetVolume().GetMode() == mesosv1.Volume_RO
	}
	s := d.GetSource()
	v.Source = Source{Kind: SourceKind(s.GetType()), ID: s.GetId(), Vendor: s.GetVendor(), Profile: s.GetProfile()}
	if v.Source.Root = s.GetPath().GetRoot(); v.Source.Root == "" {
		v.Source.Root = s.GetMount().GetRoot()
	}
	return v, nil
}

// Messages returns the list in messages. With refinement, reservations are in the new form; else
// in the old, which cannot express stacks: strip what is Refined before.
func (l List) Messages(refinement bool) []*mesosv1.Resource {
	out := make([]*mesosv1.Resource, 0, len(l))
	for i := range l {
		out = append(out, l[i].message(refinement))
	}
	return out
}

func (r *Resource) message(refinement bool) *mesosv1.Resource {
	m := &mesosv1.Resource{Name: &r.Name}
	switch r.Kind {
	case Scalar:
		m.Type, m.Scalar = mesosv1.Value_SCALAR.Enum(), &mesosv1.Value_Scalar{Value: proto.Float64(Number(r.Scalar))}
	case Ranges:
		m.Type, m.Ranges = mesosv1.Value_RANGES.Enum(), &mesosv1.Value_Ranges{}
		for _, v := range r.Ranges {
			m.Ranges.Range = append(m.Ranges.Range, &mesosv1.Value_Range{Begin: proto.Uint64(v.Begin), End: proto.Uint64(v.End)})
		}
	case Set:
		m.Type, m.Set = mesosv1.Value_SET.Enum(), &mesosv1.Value_Set{Item: r.Set}
	}
	if r.Provider != "" {
		m.ProviderId = &mesosv1.ResourceProviderID{Value: &r.Provider}
	}
	if r.Allocated != "" {
		m.AllocationInfo = &mesosv1.Resource_AllocationInfo{Role: &r.Allocated}
	}
	if r.Revocable {
		m.Revocable = &mesosv1.Resource_RevocableInfo{}
	}
	if r.Shared {
		m.Shared = &mesosv1.Resource_SharedInfo{}
	}
	m.Disk = r.Volume.message()
	if refinement {
		for _, v := range r.Reservations {
			m.Reservations = append(m.Reservations, v.message(true))
		}
		return m
	}
	m.Role = proto.String("*")
	if n := len(r.Reservations); n > 0 {
		last := r.Reservations[n-1]
		m.Role = proto.String(last.Role)
		if last.Dynamic {
			m.Reservation = last.message(false)
		}
	}
	return m
}

func (v Reservation) message(full bool) *mesosv1.Resource_ReservationInfo {
	m := &mesosv1.Resource_ReservationInfo{Labels: labelsFrom(v.Labels)}
	if v.Principal != "" {
		m.Principal = proto.String(v.Principal)
	}
	if full {
		m.Role, m.Type = proto.String(v.Role), mesosv1.Resource_ReservationInfo_STATIC.Enum()
		if v.Dynamic {
			m.Type = mesosv1.Resource_ReservationInfo_DYNAMIC.Enum()
		}
	}
	return m
}

func (v *Volume) message() *mesosv1.Resource_DiskInfo {
	if v == nil {
		return nil
	}
	m := &mesosv1.Resource_DiskInfo{}
	if v.ID != "" {
		m.Persistence = &mesosv1.Resource_DiskInfo_Persistence{Id: &v.ID}
		if v.Principal != "" {
			m.Persistence.Principal = &v.Principal
		}
		mode := mesosv1.Volume_RW
		if v.ReadOnly {
			mode = mesosv1.Volume_RO
		}
		m.Volume = &mesosv1.Volume{ContainerPath: &v.ContainerPath, Mode: &mode}
	}
	if s := v.Source; s.Kind != RootDisk {
		m.Source = &mesosv1.Resource_DiskInfo_Source{Type: mesosv1.Resource_DiskInfo_Source_Type(s.Kind).Enum()}
		for _, f := range []struct {
			to   **string
			from string
		}{{&m.Source.Id, s.ID}, {&m.Source.Vendor, s.Vendor}, {&m.Source.Profile, s.Profile}} {
			if f.from != "" {
				*f.to = proto.String(f.from)
			}
		}
		switch {
		case s.Root == "":
		case s.Kind == PathDisk:
			m.Source.Path = &mesosv1.Resource_DiskInfo_Source_Path{Root: proto.String(s.Root)}
		case s.Kind == MountDisk:
			m.Source.Mount = &mesosv1.Resource_DiskInfo_Source_Mount{Root: proto.String(s.Root)}
		}
	}
	return m
}

const labelSep, valueSep = "\x1e", "\x1f"

// labelsText is the canonical text of labels, in order; labelsFrom is its inverse.
func labelsText(l *mesosv1.Labels) string {
	var all []string
	for _, v := range l.GetLabels() {
		text := v.GetKey()
		if v.Value != nil {
			text += valueSep + v.GetValue()
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, labelSep)
}

func labelsFrom(text string) *mesosv1.Labels {
	if text == "" {
		return nil
	}
	out := &mesosv1.Labels{}
	for part := range strings.SplitSeq(text, labelSep) {
		key, value, has := strings.Cut(part, valueSep)
		l := &mesosv1.Label{Key: &key}
		if has {
			l.Value = &value
		}
		out.Labels = append(out.Labels, l)
	}
	return out
}
