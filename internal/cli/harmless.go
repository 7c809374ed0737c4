package cli

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// colour is a change of colour or weight (ECMA-48, 8.3.117 SGR): all that a container's
// output may do to a terminal.
var colour = regexp.MustCompile("\x1b\\[[0-9;:]*m")

// harmless returns what a container has written as a terminal may show it: control
// characters, which could rename the window, move the cursor over other lines or type
// answers, are spelled as cat -v does; ends of lines, tabs and colours stay.
func harmless(s string) string {
	var b strings.Builder
	for {
		at := colour.FindStringIndex(s)
		if at == nil {
			spell(&b, s)
			return b.String()
		}
		spell(&b, s[:at[0]])
		b.WriteString(s[at[0]:at[1]])
		s = s[at[1]:]
	}
}

func spell(b *strings.Builder, s string) {
	for i, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r' && strings.HasPrefix(s[i+1:], "\n"):
			b.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(b, "^%c", r+'@')
		case r == 0x7f:
			b.WriteString("^?")
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r): // C1; what turns text around
			fmt.Fprintf(b, "<U+%04X>", r)
		default:
			b.WriteRune(r)
		}
	}
}
