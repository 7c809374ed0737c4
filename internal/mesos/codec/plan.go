package codec

import (
	"reflect"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// plan is what printing and parsing need to know of a message type. Printing reads
// the generated struct, several times as fast as by reflection over messages.
type plan struct {
	fields []*field // in the order of declaration
	byName map[string]*field
	empty  reflect.Value // a struct with nothing set
}

type field struct {
	fd       protoreflect.FieldDescriptor
	name     string
	key      []byte // "name":
	kind     protoreflect.Kind
	required bool
	list     bool
	at       int    // in the struct; -1: it is one of several (oneof), and read by protoreflect
	pointer  bool   // the struct has a pointer to its value
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

func planOf(m protoreflect.Message) *plan {
	if p, ok := plans.Load(m.Descriptor().FullName()); ok {
		return p.(*plan)
	}
	building.Lock()
	defer building.Unlock()
	made := map[protoreflect.FullName]*plan{}
	p := build(m.Descriptor(), reflect.TypeOf(m.Interface()), made)
	for name, p := range made {
		plans.Store(name, p)
	}
	return p
}

// build makes the plan of a message whose generated type is a pointer, t.
func build(d protoreflect.MessageDescriptor, t reflect.Type, made map[protoreflect.FullName]*plan) *plan {
	if p, ok := plans.Load(d.FullName()); ok {
		return p.(*plan)
	}
	if p, ok := made[d.FullName()]; ok {
		return p
	}
	t = t.Elem()
	p := &plan{byName: map[string]*field{}, empty: reflect.New(t).Elem()}
	made[d.FullName()] = p
	places := map[string]int{} // by the number of the field
	for i := range t.NumField() {
		if _, rest, ok := strings.Cut(t.Field(i).Tag.Get("protobuf"), ","); ok {
			number, _, _ := strings.Cut(rest, ",")
			places[number] = i
		}
	}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		place, ok := places[strconv.Itoa(int(fd.Number()))]
		f := &field{at: -1}
		if ok {
			f = &field{at: place, pointer: t.Field(place).Type.Kind() == reflect.Pointer}
			f.fill(fd, t.Field(place).Type, made)
		} else {
			f.fill(fd, nil, made)
		}
		p.fields = append(p.fields, f)
		p.byName[f.name] = f
	}
	return p
}

// fill sets what a field's descriptor tells; t is the type in the struct, nil of one
// of several.
func (f *field) fill(fd protoreflect.FieldDescriptor, t reflect.Type, made map[protoreflect.FullName]*plan) {
	f.fd, f.name, f.kind = fd, string(fd.Name()), fd.Kind()
	f.key = append(appendString(nil, f.name), ':')
	f.required, f.list = fd.Cardinality() == protoreflect.Required, fd.IsList()
	switch {
	case fd.IsMap():
		f.mapValue = &field{}
		f.mapValue.fill(fd.MapValue(), t.Elem(), made)
	case fd.Message() != nil:
		if f.list {
			t = t.Elem()
		} else if t == nil {
			t = generated(fd.Message())
		}
		f.sub = build(fd.Message(), t, made)
	case fd.Enum() != nil:
		f.enum = buildEnum(fd.Enum())
	}
	if fd.HasDefault() && !deprecated(fd) {
		f.fallback = f.appendDefault(fd.Default())
	}
}

// generated returns the type of a message, which is linked in where it is a field's.
func generated(d protoreflect.MessageDescriptor) reflect.Type {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic("codec: " + err.Error())
	}
	return reflect.TypeOf(t.Zero().Interface())
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
	return missing(nil, planOf(r), r, "")
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
