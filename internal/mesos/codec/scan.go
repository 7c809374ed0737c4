package codec

import (
	"bytes"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// depthMax is how deep values may nest: Mesos' own limit.
const depthMax = 200

// A syntaxError says that the text is no JSON.
type syntaxError struct {
	at  int
	why string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("syntax error at byte %d: %s", e.at, e.why) }

// scanner reads JSON from front to back.
type scanner struct {
	data  []byte
	pos   int
	depth int
}

func (s *scanner) fail(why string) error { return &syntaxError{at: s.pos, why: why} }

// next skips white space and returns the byte that follows, 0 at the end.
func (s *scanner) next() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\n', '\r', '\t':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return s.fail("expecting " + word)
	}
	s.pos += len(word)
	return nil
}

// number returns the digits of the number that begins here.
func (s *scanner) number() ([]byte, error) {
	n := numberLen(s.data[s.pos:])
	if n == 0 {
		return nil, s.fail("expecting a value")
	}
	digits := s.data[s.pos : s.pos+n]
	s.pos += n
	return digits, nil
}

// numberLen is the length of the JSON number that b begins with, 0 if with none.
func numberLen(b []byte) int {
	i := 0
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return 0
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return 0
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}

// text returns the string that begins here, a part of the data where nothing in
// it is escaped; what is not UTF-8 becomes U+FFFD.
func (s *scanner) text() ([]byte, error) {
	if s.next() != '"' {
		return nil, s.fail("expecting a string")
	}
	s.pos++
	start, plain := s.pos, true
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			raw := s.data[start:s.pos]
			s.pos++
			if plain || utf8.Valid(raw) {
				return raw, nil
			}
			return bytes.ToValidUTF8(raw, []byte("\ufffd")), nil
		case c == '\\':
			return s.escaped(start)
		case c < ' ':
			return nil, s.fail("a control character in a string")
		case c >= utf8.RuneSelf:
			plain = false
		}
	}
	return nil, s.fail("the string does not end")
}

// escaped goes on with a string that began at start, at its first backslash.
func (s *scanner) escaped(start int) ([]byte, error) {
	out := append([]byte(nil), s.data[start:s.pos]...)
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return bytes.ToValidUTF8(out, []byte("\ufffd")), nil
		case c < ' ':
			return nil, s.fail("a control character in a string")
		case c != '\\':
			out = append(out, c)
			s.pos++
		default:
			var err error
			if out, err = s.escape(out); err != nil {
				return nil, err
			}
		}
	}
	return nil, s.fail("the string does not end")
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (s *scanner) escape(out []byte) ([]byte, error) {
	s.pos++ // the backslash
	if s.pos == len(s.data) {
		return nil, s.fail("the string does not end")
	}
	c := s.data[s.pos]
	if c != 'u' {
		plain, ok := escapes[c]
		if !ok {
			return nil, s.fail("an unknown escape in a string")
		}
		s.pos++
		return append(out, plain), nil
	}
	r, ok := unit(s.data[s.pos+1:])
	if !ok {
		return nil, s.fail("expecting four hex digits")
	}
	s.pos += 5
	if utf16.IsSurrogate(r) {
		low, ok := rune(0), bytes.HasPrefix(s.data[s.pos:], []byte(`\u`))
		if ok {
			low, ok = unit(s.data[s.pos+2:])
		}
		if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
			s.pos += 6
		} else {
			r = utf8.RuneError
		}
	}
	return utf8.AppendRune(out, r), nil
}

func unit(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// list reads the values of the array or object that begins here, calling each
// where a value, or the key of a member, begins.
func (s *scanner) list(open, end byte, each func() error) error {
	if s.depth++; s.depth > depthMax {
		return s.fail("nested too deeply")
	}
	s.pos++ // open
	if s.next() == end {
		s.pos++
		s.depth--
		return nil
	}
	for {
		if err := each(); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.pos++
		case end:
			s.pos++
			s.depth--
			return nil
		default:
			return s.fail("expecting , or " + string(end) + " to go on after " + string(open))
		}
	}
}

// object calls each with the key of every member, where its value begins.
func (s *scanner) object(each func(key []byte) error) error {
	return s.list('{', '}', func() error {
		key, err := s.text()
		if err != nil {
			return err
		}
		if s.next() != ':' {
			return s.fail("expecting :")
		}
		s.pos++
		s.next()
		return each(key)
	})
}

// skip passes over one value.
func (s *scanner) skip() error {
	switch s.next() {
	case '{':
		return s.object(func([]byte) error { return s.skip() })
	case '[':
		return s.list('[', ']', s.skip)
	case '"':
		_, err := s.text()
		return err
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	_, err := s.number()
	return err
}
