package cli

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"plain äöü 漢字\tx\r\n":           "plain äöü 漢字\tx\r\n",
		"\x1b[31mred\x1b[0m\n":          "\x1b[31mred\x1b[0m\n",
		"\x1b]0;owned\x07":              "^[]0;owned^G",
		"\x1b[2J\x1b[1;1Hfirst":         "^[[2J^[[1;1Hfirst",
		"ok\rweb-0 | all is well":       "ok^Mweb-0 | all is well",
		"\u009b2J\u202eevil\x7f":        "<U+009B>2J<U+202E>evil^?",
		"\x1b[38;5;196m\x1b[6n\x1b[39m": "\x1b[38;5;196m^[[6n\x1b[39m",
		"":                              "",
	} {
		if got := harmless(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzHarmless(f *testing.F) {
	for _, s := range []string{"\x1b[31m", "\x1b[", "\x1b[\x1b[0m1m", "a\r\nb", "\xff\x9b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := harmless(s)
		if strings.ContainsFunc(colour.ReplaceAllString(got, ""), func(r rune) bool {
			return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r'
		}) {
			t.Errorf("%q became %q", s, got)
		}
		if utf8.ValidString(s) && !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8 any more: %q", s, got)
		}
	})
}
