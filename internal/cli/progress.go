package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress tells on stderr how far something has come: one live line on a
// terminal, a plain line for each change elsewhere.
type progress struct {
	w     io.Writer
	width int
	live  bool
	last  string
	start time.Time
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, start: time.Now()}
	p.width, p.live = terminal(w)
	return p
}

// say shows the line where it differs from the last.
func (p *progress) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if p.live {
		text := fmt.Sprintf("%s (%.1fs)", line, time.Since(p.start).Seconds())
		if len(text) >= p.width && p.width > 1 {
			text = text[:p.width-1]
		}
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
		p.last = line
		return
	}
	if line != p.last {
		fmt.Fprintln(p.w, line)
		p.last = line
	}
}

// barWidth is the width of Count's bar, in cells.
const barWidth = 20

// Count says how many of all are there; a terminal sees a bar before the text.
func (p *progress) Count(part, all int, text string) {
	if p.live {
		text = bar(part, all, barWidth) + " " + text
	}
	p.say("%s", text)
}

// Done ends the live line.
func (p *progress) Done() {
	if p.live && p.last != "" {
		fmt.Fprintln(p.w)
	}
}

// colours for the prefixes of log lines, readable on light and dark.
var colours = []int{36, 33, 32, 35, 34, 31, 96, 93, 92, 95}

// paint colours s where w is a terminal; n chooses the colour.
func paint(w io.Writer, n int, s string) string {
	if _, ok := terminal(w); !ok {
		return s
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colours[n%len(colours)], s)
}

// bar returns a bar of width cells for part of all.
func bar(part, all, width int) string {
	if all == 0 {
		all, part = 1, 1
	}
	full := min(part*width/all, width)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
