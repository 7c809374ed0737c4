package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ParseJSON sets m to what data says. It does not ask whether required fields are
// there: Missing does.
func ParseJSON(data []byte, m proto.Message) error {
	proto.Reset(m)
	p := parser{scanner{data: data}}
	err := p.document(m)
	var syntax *syntaxError
	if err != nil && !errors.As(err, &syntax) && !json.Valid(data) {
		return &syntaxError{at: p.pos, why: "no JSON"} // it would have failed further on
	}
	return err
}

type parser struct{ scanner }

func (p *parser) document(m proto.Message) error {
	if p.next() != '{' {
		if err := p.skip(); err != nil {
			return err
		}
		return errors.New("Expecting a JSON object")
	}
	if err := p.message(planOf(m.ProtoReflect()), reflect.ValueOf(m).Elem()); err != nil {
		return err
	}
	if p.next(); p.pos < len(p.data) {
		return p.fail("something follows the object")
	}
	return nil
}

// message reads an object into a struct. Of two members with one name the last counts.
func (p *parser) message(pl *plan, to reflect.Value) error {
	return p.object(func(key []byte) error {
		f := pl.byName[string(key)]
		if f == nil {
			return p.skip()
		}
		switch {
		case p.next() == 'n':
			return p.literal("null")
		case f.at < 0:
			return p.oneOf(f, to.Addr().Interface().(proto.Message).ProtoReflect())
		case f.mapValue != nil:
			return p.entries(f, to.Field(f.at))
		case f.list:
			return p.elements(f, to.Field(f.at))
		}
		if one := to.Field(f.at); f.pointer {
			return p.pointer(f, one)
		}
		_, err := p.scalar(f, to.Field(f.at))
		return err
	})
}

// pointer reads a value, and has to point to it.
func (p *parser) pointer(f *field, to reflect.Value) error {
	value := reflect.New(to.Type().Elem())
	if f.sub != nil {
		to.Set(value)
		return p.child(f, value)
	}
	known, err := p.scalar(f, value.Elem())
	if known {
		to.Set(value)
	}
	return err
}

// child reads the message that value points to.
func (p *parser) child(f *field, value reflect.Value) error {
	if p.next() != '{' {
		return p.unexpected(f)
	}
	return p.message(f.sub, value.Elem())
}

// oneOf reads a field that is one of several.
func (p *parser) oneOf(f *field, m protoreflect.Message) error {
	if f.sub != nil {
		m.Clear(f.fd)
		return p.child(f, reflect.ValueOf(m.Mutable(f.fd).Message().Interface()))
	}
	value := reflect.New(reflect.TypeOf(m.NewField(f.fd).Interface())).Elem()
	known, err := p.scalar(f, value)
	if known {
		m.Set(f.fd, protoreflect.ValueOf(value.Interface()))
	}
	return err
}

func (p *parser) elements(f *field, to reflect.Value) error {
	to.SetZero()
	if p.next() != '[' {
		return p.element(f, to)
	}
	return p.list('[', ']', func() error { return p.element(f, to) })
}

func (p *parser) element(f *field, to reflect.Value) error {
	if p.next() == 'n' {
		return p.literal("null")
	}
	n := to.Len()
	to.Grow(1)
	to.SetLen(n + 1)
	if last := to.Index(n); f.sub != nil {
		last.Set(reflect.New(last.Type().Elem()))
		return p.child(f, last)
	}
	known, err := p.scalar(f, to.Index(n))
	if !known {
		to.SetLen(n)
	}
	return err
}

func (p *parser) entries(f *field, to reflect.Value) error {
	if p.next() != '{' {
		return p.unexpected(f)
	}
	to.Set(reflect.MakeMap(to.Type()))
	return p.object(func(key []byte) error {
		if p.next() == 'n' {
			return p.literal("null")
		}
		name, one := reflect.ValueOf(string(key)), to.Type().Elem()
		if f.mapValue.sub != nil {
			value := reflect.New(one.Elem())
			if p.next() != '{' {
				return p.unexpected(f)
			}
			if err := p.message(f.mapValue.sub, value.Elem()); err != nil {
				return err
			}
			to.SetMapIndex(name, value)
			return nil
		}
		value := reflect.New(one).Elem()
		known, err := p.scalar(f.mapValue, value)
		if known {
			to.SetMapIndex(name, value)
		}
		return err
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

// scalar sets to, which is of f's kind, to the value here; false: nothing was set,
// for a value that is dropped or an error.
func (p *parser) scalar(f *field, to reflect.Value) (known bool, err error) {
	switch c := p.next(); {
	case c == '"':
		text, err := p.text()
		if err != nil {
			return false, err
		}
		return fromText(f, to, text)
	case f.kind == protoreflect.BoolKind && c == 't':
		to.SetBool(true)
		err = p.literal("true")
		return err == nil, err
	case f.kind == protoreflect.BoolKind && c == 'f':
		to.SetBool(false)
		err = p.literal("false")
		return err == nil, err
	case c == '{', c == '[', c == 't', c == 'f', f.kind == protoreflect.BoolKind,
		f.kind == protoreflect.StringKind, f.kind == protoreflect.BytesKind, f.kind == protoreflect.EnumKind:
		return false, p.unexpected(f)
	}
	digits, err := p.number()
	if err != nil {
		return false, err
	}
	return fromNumber(f, to, digits)
}

func fromText(f *field, to reflect.Value, text []byte) (known bool, err error) {
	switch f.kind {
	case protoreflect.StringKind:
		to.SetString(string(text))
		return true, nil
	case protoreflect.EnumKind:
		n, ok := f.enum.numbers[string(text)]
		if !ok && f.required {
			return false, fmt.Errorf("Failed to find enum for '%s'", text)
		}
		if ok {
			to.SetInt(int64(n))
		}
		return ok, nil
	case protoreflect.BytesKind:
		b, err := base64.StdEncoding.AppendDecode([]byte{}, text)
		if err != nil {
			return false, fmt.Errorf("Failed to base64 decode bytes field '%s': %w", f.name, err)
		}
		to.SetBytes(b)
		return true, nil
	}
	text = bytes.TrimSpace(text)
	if f.kind == protoreflect.BoolKind {
		switch string(text) {
		case "true", "false":
			to.SetBool(text[0] == 't')
			return true, nil
		}
		return false, fmt.Errorf("Failed to parse '%s' as a JSON boolean for field '%s'", text, f.name)
	}
	switch string(text) {
	case "Infinity":
		return float(f, to, math.Inf(1))
	case "-Infinity":
		return float(f, to, math.Inf(-1))
	}
	if n := numberLen(text); n == 0 || n < len(text) {
		return false, fmt.Errorf("Failed to parse '%s' as a JSON number for field '%s'", text, f.name)
	}
	return fromNumber(f, to, text)
}

func fromNumber(f *field, to reflect.Value, digits []byte) (known bool, err error) {
	text := string(digits)
	switch f.kind {
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return outOfRange(f, text)
		}
		return float(f, to, x)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil { // 3.0, 3e2
			x, err := strconv.ParseFloat(text, 64)
			if err != nil || x != math.Trunc(x) || x < 0 || x >= math.MaxUint64 {
				return outOfRange(f, text)
			}
			n = uint64(x)
		}
		if to.OverflowUint(n) {
			return outOfRange(f, text)
		}
		to.SetUint(n)
		return true, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || x != math.Trunc(x) || x < math.MinInt64 || x >= math.MaxInt64 {
			return outOfRange(f, text)
		}
		n = int64(x)
	}
	if to.OverflowInt(n) {
		return outOfRange(f, text)
	}
	to.SetInt(n)
	return true, nil
}

func float(f *field, to reflect.Value, x float64) (known bool, err error) {
	if f.kind != protoreflect.DoubleKind && f.kind != protoreflect.FloatKind {
		return outOfRange(f, strconv.FormatFloat(x, 'g', -1, 64))
	}
	to.SetFloat(x)
	return true, nil
}

func outOfRange(f *field, text string) (known bool, err error) {
	return false, fmt.Errorf("Number %s is out of the range of field '%s', a %s", text, f.name, f.kind)
}
