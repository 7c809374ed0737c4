package shim

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 5, time.UTC)

const stamp = "2026-01-02T12:00:00.000000005Z stdout "

func TestLines(t *testing.T) {
	long := strings.Repeat("x", lineBytesMax)
	for _, c := range []struct {
		name   string
		chunks []string
		want   []string // less the time and the stream
	}{
		{"whole lines", []string{"a\nb\n"}, []string{"F a", "F b"}},
		{"an empty line", []string{"\n\n"}, []string{"F ", "F "}},
		{"a line in pieces", []string{"a", "b", "c\nd", "\n"}, []string{"F abc", "F d"}},
		{"a last line without an end", []string{"a\nb"}, []string{"F a", "P b"}},
		{"a line of just the limit", []string{long + "\n"}, []string{"F " + long}},
		{"a longer line", []string{long + "y\n"}, []string{"P " + long, "F y"}},
		{"a longer line in pieces", []string{long[:100], long + "\n"}, []string{"P " + long, "F " + long[:100]}},
		{"a line of just the limit in pieces", []string{long[:100], long[100:], "\n"}, []string{"P " + long, "F "}},
	} {
		l := lines{stream: "stdout"}
		var got []byte
		for _, chunk := range c.chunks {
			got = append(got, l.add([]byte(chunk), noon)...)
		}
		got = append(got, l.end(noon)...)
		want := ""
		for _, w := range c.want {
			want += stamp + w + "\n"
		}
		if string(got) != want {
			t.Errorf("%s: %.200q, want %.200q", c.name, got, want)
		}
	}
}

// FuzzLines: what was written comes back whole, however it was cut.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb"), uint16(1))
	f.Add(bytes.Repeat([]byte("x"), lineBytesMax+5), uint16(100))
	f.Fuzz(func(t *testing.T, text []byte, cut uint16) {
		l := lines{stream: "stdout"}
		var entries []byte
		for rest := text; len(rest) > 0; {
			n := min(int(cut)+1, len(rest))
			entries = append(entries, l.add(rest[:n], noon)...)
			rest = rest[n:]
		}
		entries = append(entries, l.end(noon)...)
		var back []byte
		for line := range bytes.Lines(entries) {
			line, ok := bytes.CutPrefix(line, []byte(stamp))
			if !ok || len(line) < 3 || len(line) > lineBytesMax+3 {
				t.Fatalf("entry %.100q", line)
			}
			if line[0] == 'P' {
				line = line[:len(line)-1]
			}
			back = append(back, line[2:]...)
		}
		if !bytes.Equal(back, text) {
			t.Errorf("%q came back as %q", text, back)
		}
	})
}
