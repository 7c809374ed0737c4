package job

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// span is a run of completion indexes, both ends included.
type span struct{ first, last int32 }

// indexes is a set of completion indexes: spans in order that do not touch.
type indexes []span

// parseIndexes reads the text of status.completedIndexes, "1,3-5,7". Text that is not of
// this form, as another writer may leave it, ends the set.
func parseIndexes(text string) indexes {
	var out indexes
	for _, part := range strings.Split(text, ",") {
		a, b, ranged := strings.Cut(part, "-")
		first, err := strconv.ParseInt(a, 10, 32)
		if err != nil {
			return out
		}
		last := first
		if ranged {
			if last, err = strconv.ParseInt(b, 10, 32); err != nil || last < first {
				return out
			}
		}
		r := span{int32(first), int32(last)}
		if n := len(out); n == 0 || out[n-1].last+1 < r.first { // as it is written
			out = append(out, r)
		} else {
			out = out.add(r)
		}
	}
	return out
}

// String writes the set as the API reference has it: three or more in a row as a
// range.
func (s indexes) String() string {
	var parts []string
	for _, r := range s {
		switch r.last - r.first {
		case 0:
			parts = append(parts, strconv.Itoa(int(r.first)))
		case 1:
			parts = append(parts, fmt.Sprintf("%d,%d", r.first, r.last))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", r.first, r.last))
		}
	}
	return strings.Join(parts, ",")
}

// has reports whether i is in the set.
func (s indexes) has(i int32) bool {
	at, found := slices.BinarySearchFunc(s, i, func(r span, i int32) int { return int(r.first) - int(i) })
	return found || at > 0 && s[at-1].last >= i
}

// add returns the set with r in it.
func (s indexes) add(r span) indexes {
	out := make(indexes, 0, len(s)+1)
	placed := false
	for _, have := range s {
		switch {
		case have.last+1 < r.first:
			out = append(out, have)
		case r.last+1 < have.first:
			if !placed {
				out, placed = append(out, r), true
			}
			out = append(out, have)
		default:
			r = span{min(r.first, have.first), max(r.last, have.last)}
		}
	}
	if !placed {
		out = append(out, r)
	}
	return out
}

// with returns the set with every given index in it.
func (s indexes) with(all []int32) indexes {
	for _, i := range all {
		if !s.has(i) {
			s = s.add(span{i, i})
		}
	}
	return s
}

// below returns the part of the set that is less than n.
func (s indexes) below(n int32) indexes {
	var out indexes
	for _, r := range s {
		if r.first < n {
			out = append(out, span{r.first, min(r.last, n-1)})
		}
	}
	return out
}

// len returns how many indexes are in the set.
func (s indexes) len() (n int32) {
	for _, r := range s {
		n += r.last - r.first + 1
	}
	return n
}

// shared returns how many indexes are in both sets.
func (s indexes) shared(o indexes) (n int32) {
	for _, a := range s {
		for _, b := range o {
			if first, last := max(a.first, b.first), min(a.last, b.last); first <= last {
				n += last - first + 1
			}
		}
	}
	return n
}
