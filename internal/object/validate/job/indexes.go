package job

import (
	"fmt"
	"strconv"
	"strings"
)

// Span is a run of completion indexes, both ends included.
type Span struct{ First, Last int32 }

// Indexes reads a list of indexes below completions, such as "1,3-5", and returns its
// runs in order, or what is wrong with it.
func Indexes(text string, completions int32) (runs []Span, fault string) {
	last := int64(-1)
	for _, part := range strings.Split(text, ",") {
		a, b, ranged := strings.Cut(part, "-")
		if !ranged {
			b = a
		}
		from, err := strconv.ParseInt(a, 10, 32)
		to, err2 := strconv.ParseInt(b, 10, 32)
		switch {
		case err != nil || err2 != nil:
			return runs, fmt.Sprintf("cannot convert string to integer for index: %q", part)
		case from <= last || to < from:
			return runs, fmt.Sprintf("non-increasing order, previous: %d, current: %d", last, from)
		case to >= int64(completions):
			return runs, fmt.Sprintf("too large index: %q", part)
		}
		runs = append(runs, Span{int32(from), int32(to)})
		last = to
	}
	return runs, ""
}

// Count returns how many indexes the runs have.
func Count(runs []Span) (n int32) {
	for _, r := range runs {
		n += r.Last - r.First + 1
	}
	return n
}

// shared returns the first index that is in both; false: there is none.
func shared(a, b []Span) (int32, bool) {
	for len(a) > 0 && len(b) > 0 {
		if first := max(a[0].First, b[0].First); first <= min(a[0].Last, b[0].Last) {
			return first, true
		}
		if a[0].Last < b[0].Last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return 0, false
}
