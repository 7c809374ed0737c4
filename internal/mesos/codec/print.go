package codec

import (
	"encoding/base64"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// AppendJSON appends m as Mesos sends it: compact, in one line.
func AppendJSON(to []byte, m proto.Message) []byte { return appendRoot(to, m, true) }

// AppendStored appends m without the defaults of fields that are not set, so that
// ParseJSON gives the very same message again.
func AppendStored(to []byte, m proto.Message) []byte { return appendRoot(to, m, false) }

func appendRoot(to []byte, m proto.Message, defaults bool) []byte {
	p := planOf(m.ProtoReflect())
	return p.append(to, reflect.ValueOf(m), defaults)
}

// append prints the message that v points to; a nil one is empty.
func (p *plan) append(to []byte, v reflect.Value, defaults bool) []byte {
	if v.IsNil() {
		v = p.empty
	} else {
		v = v.Elem()
	}
	start := len(to) + 1
	to = append(to, '{')
	for _, f := range p.fields {
		value, set := f.of(v)
		if !set && (!defaults || f.fallback == nil) {
			continue
		}
		if len(to) > start {
			to = append(to, ',')
		}
		to = append(to, f.key...)
		switch {
		case !set:
			to = append(to, f.fallback...)
		case f.mapValue != nil:
			to = f.appendMap(to, value, defaults)
		case f.list:
			to = f.appendList(to, value, defaults)
		default:
			to = f.appendValue(to, value, defaults)
		}
	}
	return append(to, '}')
}

// of returns the field's value in a struct, and whether it is set.
func (f *field) of(v reflect.Value) (reflect.Value, bool) {
	if f.at < 0 {
		m := v.Addr().Interface().(proto.Message).ProtoReflect()
		if !m.Has(f.fd) {
			return v, false
		}
		if f.sub != nil {
			return reflect.ValueOf(m.Get(f.fd).Message().Interface()), true
		}
		return reflect.ValueOf(m.Get(f.fd).Interface()), true
	}
	v = v.Field(f.at)
	switch {
	case f.mapValue != nil || f.list:
		return v, v.Len() > 0
	case f.pointer:
		if v.IsNil() {
			return v, false
		}
		if f.sub == nil {
			v = v.Elem()
		}
		return v, true
	}
	return v, !v.IsZero() // bytes; of proto3, whose zero is unset
}

func (f *field) appendList(to []byte, l reflect.Value, defaults bool) []byte {
	to = append(to, '[')
	for i := range l.Len() {
		if i > 0 {
			to = append(to, ',')
		}
		to = f.appendValue(to, l.Index(i), defaults)
	}
	return append(to, ']')
}

// appendMap prints the entries by key, so that equal messages print alike.
func (f *field) appendMap(to []byte, m reflect.Value, defaults bool) []byte {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	to = append(to, '{')
	for i, k := range keys {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(appendString(to, k.String()), ':')
		to = f.mapValue.appendValue(to, m.MapIndex(k), defaults)
	}
	return append(to, '}')
}

func (f *field) appendValue(to []byte, v reflect.Value, defaults bool) []byte {
	switch f.kind {
	case protoreflect.StringKind:
		return appendString(to, v.String())
	case protoreflect.MessageKind:
		return f.sub.append(to, v, defaults)
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return appendFloat(to, v.Float())
	case protoreflect.EnumKind:
		return f.enum.append(to, protoreflect.EnumNumber(v.Int()))
	case protoreflect.BoolKind:
		return strconv.AppendBool(to, v.Bool())
	case protoreflect.BytesKind:
		to = append(to, '"')
		to = base64.StdEncoding.AppendEncode(to, v.Bytes())
		return append(to, '"')
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(to, v.Uint(), 10)
	default:
		return strconv.AppendInt(to, v.Int(), 10)
	}
}

// appendDefault prints a declared default.
func (f *field) appendDefault(v protoreflect.Value) []byte {
	if f.kind == protoreflect.EnumKind {
		return f.enum.append(nil, v.Enum())
	}
	return f.appendValue(nil, reflect.ValueOf(v.Interface()), false)
}

func (e *enum) append(to []byte, n protoreflect.EnumNumber) []byte {
	if name, ok := e.names[n]; ok {
		return append(to, name...)
	}
	return strconv.AppendInt(to, int64(n), 10)
}

// appendFloat prints the shortest digits that give x again, and always shows that
// it is no integer: languages that tell the two apart want 4.0 cpus.
func appendFloat(to []byte, x float64) []byte {
	switch {
	case math.IsInf(x, 1):
		return append(to, `"Infinity"`...)
	case math.IsInf(x, -1):
		return append(to, `"-Infinity"`...)
	case math.IsNaN(x):
		return append(to, "null"...)
	}
	if x == math.Trunc(x) && math.Abs(x) < 1e15 {
		return append(strconv.AppendInt(to, int64(x), 10), ".0"...)
	}
	if a := math.Abs(x); a >= 1e21 || a < 1e-6 {
		return strconv.AppendFloat(to, x, 'e', -1, 64)
	}
	start := len(to)
	to = strconv.AppendFloat(to, x, 'f', -1, 64)
	if !slices.Contains(to[start:], '.') {
		to = append(to, ".0"...)
	}
	return to
}

const hex = "0123456789abcdef"

func appendString(to []byte, s string) []byte {
	to = append(to, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		to = append(to, s[from:i]...)
		r, n := rune(c), 1
		if c >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		to = appendEscaped(to, r)
		i += n
		from = i
	}
	to = append(to, s[from:]...)
	return append(to, '"')
}

func appendEscaped(to []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(to, '\\', byte(r))
	case '\n':
		return append(to, '\\', 'n')
	case '\r':
		return append(to, '\\', 'r')
	case '\t':
		return append(to, '\\', 't')
	}
	if r > 0xffff {
		r -= 0x10000
		to = appendUnit(to, 0xd800+r>>10)
		r = 0xdc00 + r&0x3ff
	}
	return appendUnit(to, r)
}

func appendUnit(to []byte, r rune) []byte {
	return append(to, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }
