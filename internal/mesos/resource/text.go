package resource

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"trireme/internal/kind"
)

// scalarMax bounds scalars so that sums of bytes do not overflow: 10^12 MB.
const scalarMax = 1e12

// Thousandths returns a number as a scalar's value, rounded to three decimals as Mesos does
// (docs "Attributes and Resources"). The error says what is wrong with it.
func Thousandths(v float64) (int64, error) {
	switch {
	case math.IsNaN(v):
		return 0, invalid("is not a number")
	case math.IsInf(v, 0) || math.Abs(v) > scalarMax:
		return 0, invalid("%g is out of range: at most %g", v, scalarMax)
	case v < 0:
		return 0, invalid("%g is negative", v)
	}
	return int64(math.Round(v * Thousand)), nil
}

func invalid(format string, args ...any) error { return kind.New(kind.Invalid, format, args...) }

// Number is the inverse of Thousandths.
func Number(thousandths int64) float64 { return float64(thousandths) / Thousand }

// Parse reads the text form: "cpus(ads):8;mem:1024;ports:[31000-32000]". What stands in
// brackets behind a name is the role that it is reserved for, statically; "*" is nobody.
func Parse(text string) (List, error) {
	var out List
	for part := range strings.SplitSeq(text, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		r, err := parseOne(part)
		if err != nil {
			return nil, fmt.Errorf("resources: %q: %w", part, err)
		}
		out = out.with(r)
	}
	return out, nil
}

func parseOne(text string) (r Resource, err error) {
	name, value, ok := strings.Cut(text, ":")
	name = strings.TrimSpace(name)
	if before, role, in := strings.Cut(name, "("); in {
		role, closed := strings.CutSuffix(role, ")")
		if !closed {
			return r, invalid("a bracket is missing behind the role: write NAME(ROLE):VALUE")
		}
		name, role = strings.TrimSpace(before), strings.TrimSpace(role)
		if role != "*" {
			if err := CheckRole(role); err != nil {
				return r, err
			}
			r.Reservations = []Reservation{{Role: role}}
		}
	}
	if !ok || name == "" {
		return r, invalid("is not of the form NAME:VALUE")
	}
	r.Name = name
	if err := r.parseValue(strings.TrimSpace(value)); err != nil {
		return r, err
	}
	return r, r.checkKind()
}

func (r *Resource) parseValue(text string) error {
	switch {
	case strings.HasPrefix(text, "["):
		r.Kind = Ranges
		inner, ok := strings.CutSuffix(text[1:], "]")
		if !ok {
			return invalid("ranges are written [FROM-TO, FROM-TO]")
		}
		ranges, err := parseRanges(inner)
		r.Ranges = ranges
		return err
	case strings.HasPrefix(text, "{"):
		r.Kind = Set
		inner, ok := strings.CutSuffix(text[1:], "}")
		if !ok {
			return invalid("a set is written {ONE, ANOTHER}")
		}
		for item := range strings.SplitSeq(inner, ",") {
			if item = strings.TrimSpace(item); item != "" {
				r.Set = append(r.Set, item)
			}
		}
		all := len(r.Set)
		if r.Set = distinct(r.Set); len(r.Set) != all {
			return invalid("an item of the set is there twice")
		}
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return invalid("%q is neither a number, nor ranges [FROM-TO], nor a set {ONE, ANOTHER}", text)
	}
	r.Scalar, err = Thousandths(v)
	return err
}

func parseRanges(text string) ([]Range, error) {
	var all []Range
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		from, to, ok := strings.Cut(part, "-")
		if !ok {
			return nil, invalid("%q is not of the form FROM-TO", part)
		}
		begin, err := strconv.ParseUint(strings.TrimSpace(from), 10, 64)
		if err != nil {
			return nil, invalid("%q is not of the form FROM-TO", part)
		}
		end, err := strconv.ParseUint(strings.TrimSpace(to), 10, 64)
		if err != nil {
			return nil, invalid("%q is not of the form FROM-TO", part)
		}
		all = append(all, Range{begin, end})
	}
	return checkRanges(all)
}

// checkRanges returns the ranges in order, or what is wrong with them.
func checkRanges(all []Range) ([]Range, error) {
	for i, r := range all {
		if r.Begin > r.End {
			return nil, invalid("range %d-%d ends before it begins", r.Begin, r.End)
		}
		for _, o := range all[:i] {
			if r.Begin <= o.End && o.Begin <= r.End {
				return nil, invalid("ranges %d-%d and %d-%d overlap", o.Begin, o.End, r.Begin, r.End)
			}
		}
	}
	return Joined(slices.Clone(all)), nil
}

// CheckRole returns what is wrong with a role's name (docs "Roles", "Invalid Role Names").
func CheckRole(role string) error {
	if role == "*" {
		return nil
	}
	if role == "" {
		return invalid("a role's name is empty")
	}
	for part := range strings.SplitSeq(role, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return invalid("role %q has a part that is empty, . or ..", role)
		case part == "*" || strings.HasPrefix(part, "-"):
			return invalid("role %q has a part that is * or begins with -", role)
		case strings.ContainsFunc(part, func(c rune) bool { return c == '\\' || c <= ' ' || c == 0x7f }):
			return invalid("role %q has white space, a control character or a backslash", role)
		}
	}
	return nil
}

// String returns the text form, with what it cannot express in Mesos' log form.
func (l List) String() string {
	parts := make([]string, len(l))
	for i := range l {
		parts[i] = l[i].String()
	}
	return strings.Join(parts, "; ")
}

// String returns the resource as List's String does.
func (r Resource) String() string {
	var b strings.Builder
	b.WriteString(r.Name)
	if r.Allocated != "" {
		fmt.Fprintf(&b, "(allocated: %s)", r.Allocated)
	}
	switch {
	case len(r.Reservations) == 1 && !r.Reservations[0].Dynamic:
		fmt.Fprintf(&b, "(%s)", r.Reservations[0].Role)
	case len(r.Reservations) > 0:
		var all []string
		for _, v := range r.Reservations {
			all = append(all, v.String())
		}
		fmt.Fprintf(&b, "(reservations: [%s])", strings.Join(all, ","))
	}
	if v := r.Volume; v != nil {
		fmt.Fprintf(&b, "[%s%s]", v.Source, v.ID)
		if v.ContainerPath != "" {
			b.WriteString(":" + v.ContainerPath)
		}
	}
	if r.Revocable {
		b.WriteString("{REV}")
	}
	if r.Shared {
		b.WriteString("<SHARED>")
	}
	b.WriteString(":" + r.value())
	return b.String()
}

// String returns the reservation in Mesos' log form.
func (v Reservation) String() string {
	kind := "STATIC"
	if v.Dynamic {
		kind = "DYNAMIC"
	}
	text := kind + "," + v.Role
	if v.Principal != "" {
		text += "," + v.Principal
	}
	if v.Labels != "" {
		text += "," + v.Labels
	}
	return "(" + text + ")"
}

// String returns the source in Mesos' log form, with a comma behind it; empty: the node's own.
func (s Source) String() string {
	name := [...]string{"", "PATH", "MOUNT", "BLOCK", "RAW"}[s.Kind]
	if name == "" {
		return ""
	}
	return name + "(" + s.ID + "," + s.Profile + "):" + s.Root + ","
}

func (r *Resource) value() string {
	switch r.Kind {
	case Scalar:
		return strconv.FormatFloat(Number(r.Scalar), 'f', -1, 64)
	case Ranges:
		var all []string
		for _, v := range r.Ranges {
			all = append(all, fmt.Sprintf("%d-%d", v.Begin, v.End))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	return "{" + strings.Join(r.Set, ", ") + "}"
}
