package resource

import (
	"slices"
)

// Plus returns both lists together. What is shared is there once.
func (l List) Plus(o List) List {
	out := slices.Clone(l)
	for i := range o {
		out = out.with(o[i])
	}
	return out
}

// with adds one resource to a list that is the caller's own.
func (l List) with(r Resource) List {
	if r.Empty() {
		return l
	}
	at, found := slices.BinarySearchFunc(l, r, func(a, b Resource) int { return less(&a, &b) })
	for found && at < len(l) && l[at].alike(&r) {
		if r.Shared {
			return l
		}
		if !r.whole() {
			l[at] = l[at].plus(r)
			return l
		}
		at++
	}
	return slices.Insert(l, at, r)
}

func (r Resource) plus(o Resource) Resource {
	switch r.Kind {
	case Scalar:
		r.Scalar += o.Scalar
	case Ranges:
		r.Ranges = Joined(append(slices.Clone(r.Ranges), o.Ranges...))
	case Set:
		r.Set = distinct(append(slices.Clone(r.Set), o.Set...))
	}
	return r
}

// Minus returns what is left of the list without o; what o has and the list has not does not
// count.
func (l List) Minus(o List) List {
	out := slices.Clone(l)
	for i := range o {
		out = out.without(o[i])
	}
	return out
}

// without takes one resource from a list that is the caller's own.
func (l List) without(r Resource) List {
	if r.Shared {
		return l
	}
	for i := range l {
		if !l[i].alike(&r) {
			continue
		}
		if r.whole() {
			if l[i].Scalar == r.Scalar {
				return slices.Delete(l, i, i+1)
			}
			continue
		}
		if l[i] = l[i].minus(r); l[i].Empty() {
			return slices.Delete(l, i, i+1)
		}
		return l
	}
	return l
}

func (r Resource) minus(o Resource) Resource {
	switch r.Kind {
	case Scalar:
		r.Scalar = max(0, r.Scalar-o.Scalar)
	case Ranges:
		r.Ranges = cut(r.Ranges, o.Ranges)
	case Set:
		r.Set = slices.DeleteFunc(slices.Clone(r.Set), func(s string) bool { return slices.Contains(o.Set, s) })
	}
	return r
}

// Contains reports whether all of o is in the list.
func (l List) Contains(o List) bool {
	if len(o) == 1 {
		return l.contains(&o[0])
	}
	left := slices.Clone(l)
	for i := range o {
		if !left.contains(&o[i]) {
			return false
		}
		left = left.without(o[i])
	}
	return true
}

func (l List) contains(r *Resource) bool {
	if r.Empty() {
		return true
	}
	for i := range l {
		have := &l[i]
		if !have.alike(r) {
			continue
		}
		switch {
		case r.whole():
			if have.Scalar == r.Scalar {
				return true
			}
		case r.Kind == Scalar:
			return have.Scalar >= r.Scalar
		case r.Kind == Ranges:
			return len(cut(r.Ranges, have.Ranges)) == 0
		default:
			return !slices.ContainsFunc(r.Set, func(s string) bool { return !slices.Contains(have.Set, s) })
		}
	}
	return false
}

// Equal reports whether both are the same amounts.
func (l List) Equal(o List) bool {
	return slices.EqualFunc(l, o, func(a, b Resource) bool {
		return a.alike(&b) && a.Scalar == b.Scalar && slices.Equal(a.Ranges, b.Ranges) && slices.Equal(a.Set, b.Set)
	})
}

// Where returns the resources that f keeps.
func (l List) Where(f func(*Resource) bool) (out List) {
	for i := range l {
		if f(&l[i]) {
			out = append(out, l[i])
		}
	}
	return out
}

// For returns what a role may have of the list.
func (l List) For(role string) List { return l.Where(func(r *Resource) bool { return r.For(role) }) }

// Unreserved returns what is kept for nobody.
func (l List) Unreserved() List { return l.Where(func(r *Resource) bool { return !r.Reserved() }) }

// Firm returns what is not revocable.
func (l List) Firm() List { return l.Where(func(r *Resource) bool { return !r.Revocable }) }

// AllocatedTo returns the list with each resource marked as a role's; empty: as nobody's.
func (l List) AllocatedTo(role string) List {
	var out List
	for i := range l {
		r := l[i]
		r.Allocated = role
		out = out.with(r)
	}
	return out
}

// Plain returns the list as amounts alone: nothing is reserved, shared, revocable, allocated or
// a volume. Amounts of what is shared count once.
func (l List) Plain() List {
	var out List
	for i := range l {
		r := Resource{Name: l[i].Name, Kind: l[i].Kind, Scalar: l[i].Scalar, Ranges: l[i].Ranges, Set: l[i].Set}
		out = out.with(r)
	}
	return out
}

// Scalar returns how much there is of a scalar in thousandths, reserved or not.
func (l List) Scalar(name string) (sum int64) {
	for i := range l {
		if l[i].Name == name && l[i].Kind == Scalar {
			sum += l[i].Scalar
		}
	}
	return sum
}

// Ports returns the ranges of the ports.
func (l List) Ports() (all []Range) {
	for i := range l {
		if l[i].Name == Ports && l[i].Kind == Ranges {
			all = append(all, l[i].Ranges...)
		}
	}
	return Joined(all)
}

// Reserve returns the list with a reservation on top of each resource.
func (l List) Reserve(by Reservation) List {
	var out List
	for _, r := range l {
		r.Reservations = append(slices.Clone(r.Reservations), by)
		out = out.with(r)
	}
	return out
}

// Unreserve returns the list without the last reservation of each resource.
func (l List) Unreserve() List {
	var out List
	for _, r := range l {
		if n := len(r.Reservations); n > 0 {
			r.Reservations = r.Reservations[: n-1 : n-1]
			if n == 1 {
				r.Reservations = nil
			}
		}
		out = out.with(r)
	}
	return out
}

// Joined returns the ranges in order, with those joined that touch or overlap. It owns all.
func Joined(all []Range) []Range {
	slices.SortFunc(all, func(a, b Range) int {
		switch {
		case a.Begin != b.Begin:
			return order(a.Begin, b.Begin)
		}
		return order(a.End, b.End)
	})
	out := all[:0]
	for _, r := range all {
		if n := len(out); n > 0 && (r.Begin <= out[n-1].End || r.Begin == out[n-1].End+1) {
			out[n-1].End = max(out[n-1].End, r.End)
			continue
		}
		out = append(out, r)
	}
	return out
}

func order(a, b uint64) int {
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

// cut returns what is in from and not in away; both are joined.
func cut(from, away []Range) (out []Range) {
	for _, r := range from {
		begin, gone := r.Begin, false
		for _, a := range away {
			if a.End < begin || a.Begin > r.End {
				continue
			}
			if a.Begin > begin {
				out = append(out, Range{begin, a.Begin - 1})
			}
			if a.End >= r.End {
				gone = true
				break
			}
			begin = a.End + 1
		}
		if !gone {
			out = append(out, Range{begin, r.End})
		}
	}
	return out
}

func distinct(set []string) []string {
	slices.Sort(set)
	return slices.Compact(set)
}
