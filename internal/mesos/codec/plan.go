package codec

import (
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// plan is what printing and parsing need to know of a message type.
type plan struct {
	fields []*field // in the order of declaration
	byName map[string]*field
}

type field struct {
	fd       protoreflect.FieldDescriptor
	name     string
	key      []byte // "name":
	kind     protoreflect.Kind
	required bool
	list     bool
	fallback []byte // the declared default as printed where unset; nil: none
	sub      *plan  // of a message
	enum     *enum
	mapValue *field // of a map; keys are strings in all messages of Mesos
}

type enum struct {
	names   map[protoreflect.EnumNumber][]byte // quoted
	numbers map[string]protoreflect.EnumNumber
}

// plans holds *plan by protoreflect.FullName. Whole graphs are built under
// building and published when complete, for messages may contain themselves.
var (
	plans    sync.Map
	building sync.Mutex
)

func planOf(d protoreflect.MessageDescriptor) *plan {
	if p, ok := plans.Load(d.FullName()); ok {
		return p.(*plan)
	}
	building.Lock()
	defer building.Unlock()
	made := map[protoreflect.FullName]*plan{}
	p := build(d, made)
	for name, p := range made {
		plans.Store(name, p)
	}
	return p
}

func build(d protoreflect.MessageDescriptor, made map[protoreflect.FullName]*plan) *plan {
	if p, ok := plans.Load(d.FullName()); ok {
		return p.(*plan)
	}
	if p, ok := made[d.FullName()]; ok {
		return p
	}
	p := &plan{byName: map[string]*field{}}
	made[d.FullName()] = p
	for i := range d.Fields().Len() {
		f := buildField(d.Fields().Get(i), made)
		p.fields = append(p.fields, f)
		p.byName[f.name] = f
	}
	return p
}

func buildField(fd protoreflect.FieldDescriptor, made map[protoreflect.FullName]*plan) *field {
	name := string(fd.Name())
	f := &field{
		fd: fd, name: name, key: append(appendString(nil, name), ':'), kind: fd.Kind(),
		required: fd.Cardinality() == protoreflect.Required, list: fd.IsList(),
	}
	switch {
	case fd.IsMap():
		f.mapValue = buildField(fd.MapValue(), made)
	case fd.Message() != nil:
		f.sub = build(fd.Message(), made)
	case fd.Enum() != nil:
		f.enum = buildEnum(fd.Enum())
	}
	if fd.HasDefault() && !deprecated(fd) {
		f.fallback = f.appendValue(nil, fd.Default(), true)
	}
	return f
}

func deprecated(fd protoreflect.FieldDescriptor) bool {
	o, ok := fd.Options().(*descriptorpb.FieldOptions)
	return ok && o.GetDeprecated()
}

func buildEnum(d protoreflect.EnumDescriptor) *enum {
	e := &enum{names: map[protoreflect.EnumNumber][]byte{}, numbers: map[string]protoreflect.EnumNumber{}}
	for i := range d.Values().Len() {
		v := d.Values().Get(i)
		e.numbers[string(v.Name())] = v.Number()
		if e.names[v.Number()] == nil {
			e.names[v.Number()] = appendString(nil, string(v.Name()))
		}
	}
	return e
}

// Missing returns the required fields of m that are not set, as paths from m in
// the order of declaration ("subscribe.framework_info.user"); none: m is whole.
func Missing(m proto.Message) []string {
	if proto.CheckInitialized(m) == nil {
		return nil
	}
	r := m.ProtoReflect()
	return missing(nil, planOf(r.Descriptor()), r, "")
}

func missing(found []string, p *plan, m protoreflect.Message, at string) []string {
	for _, f := range p.fields {
		if !m.Has(f.fd) {
			if f.required {
				found = append(found, at+f.name)
			}
			continue
		}
		switch {
		case f.mapValue != nil && f.mapValue.sub != nil:
			m.Get(f.fd).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				found = missing(found, f.mapValue.sub, v.Message(), at+f.name+"["+k.String()+"].")
				return true
			})
		case f.sub == nil:
		case f.list:
			l := m.Get(f.fd).List()
			for i := range l.Len() {
				found = missing(found, f.sub, l.Get(i).Message(), at+f.name+index(i)+".")
			}
		default:
			found = missing(found, f.sub, m.Get(f.fd).Message(), at+f.name+".")
		}
	}
	return found
}
