package resource

import (
	"cmp"
	"slices"
	"strings"
)

// Kind is what values of a resource are.
type Kind int8

// The kinds, numbered as in mesos.v1.Value.Type.
const (
	Scalar Kind = 0
	Ranges Kind = 1
	Set    Kind = 2
)

// The names that have a meaning of their own.
const (
	CPUs  = "cpus"
	Mem   = "mem"  // in MB, which are 2^20 bytes
	Disk  = "disk" // in MB
	GPUs  = "gpus"
	Ports = "ports"
)

// Thousand is one whole, of a scalar.
const Thousand = 1000

// Range is the numbers from Begin to End, both included.
type Range struct{ Begin, End uint64 }

// Reservation says for whom a resource is kept.
type Reservation struct {
	Dynamic   bool
	Role      string
	Principal string
	Labels    string // as canonical text; different labels never merge
}

// Volume makes a resource of disk something else than an amount of the node's own disk.
type Volume struct {
	ID            string // of the persistent volume; empty: it is none
	Principal     string // that made it
	ContainerPath string
	ReadOnly      bool
	Source        Source
}

// SourceKind is where disk comes from, numbered as in mesos.v1.Resource.DiskInfo.Source.Type.
type SourceKind int8

// The sources of disk. RootDisk is the node's own.
const (
	RootDisk  SourceKind = 0
	PathDisk  SourceKind = 1 // can be split
	MountDisk SourceKind = 2 // is taken whole
	BlockDisk SourceKind = 3
	RawDisk   SourceKind = 4
)

// Source is where disk comes from.
type Source struct {
	Kind                      SourceKind
	Root, ID, Vendor, Profile string
}

// whole reports whether disk of the source cannot be split.
func (s Source) whole() bool {
	return s.Kind == MountDisk || s.Kind == BlockDisk || s.Kind == RawDisk && s.ID != ""
}

// Resource is an amount of one thing.
type Resource struct {
	Name         string
	Kind         Kind
	Scalar       int64    // in thousandths
	Ranges       []Range  // in order, without overlap, neighbours joined
	Set          []string // in order, each once
	Reservations []Reservation
	Volume       *Volume // nil: none, and the node's own disk
	Shared       bool
	Revocable    bool
	Provider     string // id of the resource provider; empty: the agent itself
	Allocated    string // the role that it is lent to or used by; empty: nobody's
}

// List is amounts of many things. The nil List is nothing.
type List []Resource

// Of returns an unreserved scalar, in thousandths.
func Of(name string, thousandths int64) Resource {
	return Resource{Name: name, Scalar: thousandths}
}

// Empty reports whether it is an amount of nothing.
func (r *Resource) Empty() bool {
	switch r.Kind {
	case Scalar:
		return r.Scalar <= 0
	case Ranges:
		return len(r.Ranges) == 0
	}
	return len(r.Set) == 0
}

// alike reports whether both are of one kind of thing: reserved alike, on the same volume.
func (r *Resource) alike(o *Resource) bool {
	if r.Name != o.Name || r.Kind != o.Kind || r.Shared != o.Shared || r.Revocable != o.Revocable || r.Provider != o.Provider || r.Allocated != o.Allocated {
		return false
	}
	return slices.Equal(r.Reservations, o.Reservations) && sameVolume(r.Volume, o.Volume)
}

func sameVolume(a, b *Volume) bool { return a == b || a != nil && b != nil && *a == *b }

// whole reports whether the resource is never split nor added to: a volume, a disk that is
// taken whole.
func (r *Resource) whole() bool {
	return r.Volume != nil && (r.Volume.ID != "" || r.Volume.Source.whole())
}

// Persistent reports whether it is a persistent volume.
func (r *Resource) Persistent() bool { return r.Volume != nil && r.Volume.ID != "" }

// Role returns for whom it is reserved; empty: for nobody.
func (r *Resource) Role() string {
	if n := len(r.Reservations); n > 0 {
		return r.Reservations[n-1].Role
	}
	return ""
}

// Reserved reports whether it is kept for a role.
func (r *Resource) Reserved() bool { return len(r.Reservations) > 0 }

// Dynamic reports whether its last reservation may be taken back.
func (r *Resource) Dynamic() bool {
	n := len(r.Reservations)
	return n > 0 && r.Reservations[n-1].Dynamic
}

// Refined reports whether only frameworks that know stacks of reservations understand it.
func (r *Resource) Refined() bool { return len(r.Reservations) > 1 }

// For reports whether a role may have it: it is not reserved, or for that role or one above it.
func (r *Resource) For(role string) bool {
	have := r.Role()
	return have == "" || have == role || Above(have, role)
}

// Above reports whether role a has role b below it.
func Above(a, b string) bool {
	return len(b) > len(a) && b[len(a)] == '/' && strings.HasPrefix(b, a)
}

// less orders a list: by name, then what is not reserved first.
func less(a, b *Resource) int {
	return cmp.Or(
		cmp.Compare(rank(a.Name), rank(b.Name)), strings.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(len(a.Reservations), len(b.Reservations)), slices.CompareFunc(a.Reservations, b.Reservations, lessReservation),
		strings.Compare(a.Allocated, b.Allocated), compareBool(a.Revocable, b.Revocable), compareBool(a.Shared, b.Shared),
		strings.Compare(a.Provider, b.Provider), strings.Compare(volumeText(a.Volume), volumeText(b.Volume)))
}

func lessReservation(a, b Reservation) int {
	return cmp.Or(strings.Compare(a.Role, b.Role), compareBool(a.Dynamic, b.Dynamic), strings.Compare(a.Principal, b.Principal), strings.Compare(a.Labels, b.Labels))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// rank puts the well-known names first, as Mesos prints them.
func rank(name string) int {
	switch name {
	case CPUs:
		return 0
	case GPUs:
		return 1
	case Mem:
		return 2
	case Disk:
		return 3
	case Ports:
		return 4
	}
	return 5
}

func volumeText(v *Volume) string {
	if v == nil {
		return ""
	}
	return strings.Join([]string{v.ID, v.ContainerPath, v.Principal, v.Source.Root, v.Source.ID, v.Source.Profile}, "\x00")
}
