package codec

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// AppendJSON appends m as Mesos sends it: compact, in one line.
func AppendJSON(to []byte, m proto.Message) []byte {
	r := m.ProtoReflect()
	return appendMessage(to, planOf(r.Descriptor()), r, true)
}

// AppendStored appends m without the defaults of fields that are not set, so that
// ParseJSON gives the very same message again.
func AppendStored(to []byte, m proto.Message) []byte {
	r := m.ProtoReflect()
	return appendMessage(to, planOf(r.Descriptor()), r, false)
}

func appendMessage(to []byte, p *plan, m protoreflect.Message, defaults bool) []byte {
	start := len(to) + 1
	to = append(to, '{')
	for _, f := range p.fields {
		set := m.Has(f.fd)
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
			to = f.appendMap(to, m.Get(f.fd).Map(), defaults)
		case f.list:
			to = f.appendList(to, m.Get(f.fd).List(), defaults)
		default:
			to = f.appendValue(to, m.Get(f.fd), defaults)
		}
	}
	return append(to, '}')
}

func (f *field) appendList(to []byte, l protoreflect.List, defaults bool) []byte {
	to = append(to, '[')
	for i := range l.Len() {
		if i > 0 {
			to = append(to, ',')
		}
		to = f.appendValue(to, l.Get(i), defaults)
	}
	return append(to, ']')
}

// appendMap prints the entries by key, so that equal messages print alike.
func (f *field) appendMap(to []byte, m protoreflect.Map, defaults bool) []byte {
	var keys []string
	values := map[string]protoreflect.Value{}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		keys = append(keys, k.String())
		values[k.String()] = v
		return true
	})
	slices.Sort(keys)
	to = append(to, '{')
	for i, k := range keys {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(appendString(to, k), ':')
		to = f.mapValue.appendValue(to, values[k], defaults)
	}
	return append(to, '}')
}

func (f *field) appendValue(to []byte, v protoreflect.Value, defaults bool) []byte {
	switch f.kind {
	case protoreflect.StringKind:
		return appendString(to, v.String())
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return appendMessage(to, f.sub, v.Message(), defaults)
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return appendFloat(to, v.Float())
	case protoreflect.EnumKind:
		if name, ok := f.enum.names[v.Enum()]; ok {
			return append(to, name...)
		}
		return strconv.AppendInt(to, int64(v.Enum()), 10)
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
