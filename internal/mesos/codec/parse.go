package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ParseJSON sets m to what data says. It does not ask whether required fields are
// there: Missing does.
func ParseJSON(data []byte, m proto.Message) error {
	proto.Reset(m)
	p := parser{scanner{data: data}}
	err := p.document(m.ProtoReflect())
	var syntax *syntaxError
	if err != nil && !errors.As(err, &syntax) && !json.Valid(data) {
		return &syntaxError{at: p.pos, why: "no JSON"} // it would have failed further on
	}
	return err
}

type parser struct{ scanner }

func (p *parser) document(m protoreflect.Message) error {
	if p.next() != '{' {
		if err := p.skip(); err != nil {
			return err
		}
		return errors.New("Expecting a JSON object")
	}
	if err := p.message(planOf(m.Descriptor()), m); err != nil {
		return err
	}
	if p.next(); p.pos < len(p.data) {
		return p.fail("something follows the object")
	}
	return nil
}

func (p *parser) message(pl *plan, m protoreflect.Message) error {
	return p.object(func(key []byte) error {
		f := pl.byName[string(key)]
		if f == nil {
			return p.skip()
		}
		switch {
		case p.next() == 'n':
			return p.literal("null")
		case f.mapValue != nil:
			return p.entries(f, m)
		case f.list:
			return p.elements(f, m)
		case f.sub != nil:
			if p.next() != '{' {
				return p.unexpected(f)
			}
			m.Clear(f.fd) // of two members with one name the last counts
			return p.message(f.sub, m.Mutable(f.fd).Message())
		}
		v, err := p.scalar(f)
		if err == nil && v.IsValid() {
			m.Set(f.fd, v)
		}
		return err
	})
}

func (p *parser) elements(f *field, m protoreflect.Message) error {
	if p.next() != '[' {
		return p.element(f, m.Mutable(f.fd).List())
	}
	m.Clear(f.fd)
	l := m.Mutable(f.fd).List()
	return p.list('[', ']', func() error { return p.element(f, l) })
}

func (p *parser) element(f *field, l protoreflect.List) error {
	c := p.next()
	switch {
	case c == 'n':
		return p.literal("null")
	case f.sub != nil && c == '{':
		return p.message(f.sub, l.AppendMutable().Message())
	case f.sub != nil:
		return p.unexpected(f)
	}
	v, err := p.scalar(f)
	if err == nil && v.IsValid() {
		l.Append(v)
	}
	return err
}

func (p *parser) entries(f *field, m protoreflect.Message) error {
	if p.next() != '{' {
		return p.unexpected(f)
	}
	m.Clear(f.fd)
	to := m.Mutable(f.fd).Map()
	return p.object(func(key []byte) error {
		name := protoreflect.ValueOfString(string(key)).MapKey()
		c := p.next()
		switch {
		case c == 'n':
			return p.literal("null")
		case f.mapValue.sub == nil:
			v, err := p.scalar(f.mapValue)
			if err == nil && v.IsValid() {
				to.Set(name, v)
			}
			return err
		case c != '{':
			return p.unexpected(f)
		}
		v := to.NewValue()
		if err := p.message(f.mapValue.sub, v.Message()); err != nil {
			return err
		}
		to.Set(name, v)
		return nil
	})
}

// unexpected says, in Mesos' words, that f takes no value such as the one here.
func (p *parser) unexpected(f *field) error {
	what := "number"
	switch p.next() {
	case '{':
		what = "object"
	case '[':
		what = "array"
	case '"':
		what = "string"
	case 't', 'f':
		what = "boolean"
	}
	if err := p.skip(); err != nil {
		return err
	}
	return fmt.Errorf("Not expecting a JSON %s for field '%s'", what, f.name)
}

// scalar reads a value of f's kind; an invalid value, without an error, is one to
// be dropped.
func (p *parser) scalar(f *field) (protoreflect.Value, error) {
	switch c := p.next(); {
	case c == '"':
		text, err := p.text()
		if err != nil {
			return protoreflect.Value{}, err
		}
		return fromText(f, text)
	case f.kind == protoreflect.BoolKind && c == 't':
		return protoreflect.ValueOfBool(true), p.literal("true")
	case f.kind == protoreflect.BoolKind && c == 'f':
		return protoreflect.ValueOfBool(false), p.literal("false")
	case c == '{', c == '[', c == 't', c == 'f', f.kind == protoreflect.BoolKind,
		f.kind == protoreflect.StringKind, f.kind == protoreflect.BytesKind, f.kind == protoreflect.EnumKind:
		return protoreflect.Value{}, p.unexpected(f)
	}
	digits, err := p.number()
	if err != nil {
		return protoreflect.Value{}, err
	}
	return fromNumber(f, digits)
}

func fromText(f *field, text []byte) (protoreflect.Value, error) {
	var none protoreflect.Value
	switch f.kind {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(string(text)), nil
	case protoreflect.EnumKind:
		if n, ok := f.enum.numbers[string(text)]; ok {
			return protoreflect.ValueOfEnum(n), nil
		}
		if f.required {
			return none, fmt.Errorf("Failed to find enum for '%s'", text)
		}
		return none, nil
	case protoreflect.BytesKind:
		b, err := base64.StdEncoding.AppendDecode([]byte{}, text)
		if err != nil {
			return none, fmt.Errorf("Failed to base64 decode bytes field '%s': %w", f.name, err)
		}
		return protoreflect.ValueOfBytes(b), nil
	}
	text = bytes.TrimSpace(text)
	if f.kind == protoreflect.BoolKind {
		switch string(text) {
		case "true", "false":
			return protoreflect.ValueOfBool(text[0] == 't'), nil
		}
		return none, fmt.Errorf("Failed to parse '%s' as a JSON boolean for field '%s'", text, f.name)
	}
	switch string(text) {
	case "Infinity":
		return float(f, math.Inf(1))
	case "-Infinity":
		return float(f, math.Inf(-1))
	}
	if n := numberLen(text); n == 0 || n < len(text) {
		return none, fmt.Errorf("Failed to parse '%s' as a JSON number for field '%s'", text, f.name)
	}
	return fromNumber(f, text)
}

func fromNumber(f *field, digits []byte) (protoreflect.Value, error) {
	text := string(digits)
	switch f.kind {
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return outOfRange(f, text)
		}
		return float(f, x)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return unsigned(f, text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil { // 3.0, 3e2
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || x != math.Trunc(x) || x < math.MinInt64 || x >= math.MaxInt64 {
			return outOfRange(f, text)
		}
		n = int64(x)
	}
	if f.kind == protoreflect.Int64Kind || f.kind == protoreflect.Sint64Kind || f.kind == protoreflect.Sfixed64Kind {
		return protoreflect.ValueOfInt64(n), nil
	}
	if int64(int32(n)) != n {
		return outOfRange(f, text)
	}
	return protoreflect.ValueOfInt32(int32(n)), nil
}

func unsigned(f *field, text string) (protoreflect.Value, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || x != math.Trunc(x) || x < 0 || x >= math.MaxUint64 {
			return outOfRange(f, text)
		}
		n = uint64(x)
	}
	if f.kind == protoreflect.Uint64Kind || f.kind == protoreflect.Fixed64Kind {
		return protoreflect.ValueOfUint64(n), nil
	}
	if n > math.MaxUint32 {
		return outOfRange(f, text)
	}
	return protoreflect.ValueOfUint32(uint32(n)), nil
}

func float(f *field, x float64) (protoreflect.Value, error) {
	switch f.kind {
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(x), nil
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(x)), nil
	}
	return outOfRange(f, strconv.FormatFloat(x, 'g', -1, 64))
}

func outOfRange(f *field, text string) (protoreflect.Value, error) {
	return protoreflect.Value{}, fmt.Errorf("Number %s is out of the range of field '%s', a %s", text, f.name, f.kind)
}
