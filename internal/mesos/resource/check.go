package resource

import (
	"fmt"
	"strings"
)

// Check returns what is wrong with the resources of a message; the error names the resource and
// the field by the name of the list.
func (l List) Check(field string) error {
	volumes := map[string]bool{}
	for i := range l {
		r := &l[i]
		if err := r.check(); err != nil {
			return fmt.Errorf("%s[%d] (%s): %w", field, i, r.Name, err)
		}
		if !r.Persistent() || r.Shared {
			continue
		}
		if id := r.Role() + "\x00" + r.Volume.ID; volumes[id] {
			return fmt.Errorf("%s[%d] (%s): %w", field, i, r.Name, invalid("disk.persistence.id: volume %q is there twice", r.Volume.ID))
		} else {
			volumes[id] = true
		}
	}
	return nil
}

func (r *Resource) check() error {
	if r.Name == "" {
		return invalid("name: is empty")
	}
	if err := r.checkKind(); err != nil {
		return err
	}
	if err := r.checkReservations(); err != nil {
		return err
	}
	if err := r.checkVolume(); err != nil {
		return err
	}
	if r.Shared && !r.Persistent() {
		return invalid("shared: only persistent volumes can be shared")
	}
	if r.Revocable && (r.Reserved() || r.Persistent()) {
		return invalid("revocable: what is revocable can be neither reserved nor hold a volume")
	}
	return nil
}

// checkKind keeps the well-known names to their kinds.
func (r *Resource) checkKind() error {
	switch r.Name {
	case CPUs, Mem, Disk, GPUs:
		if r.Kind != Scalar {
			return invalid("type: %s is a scalar", r.Name)
		}
	case Ports:
		if r.Kind != Ranges {
			return invalid("type: ports are ranges")
		}
		for _, v := range r.Ranges {
			if v.End > 65535 {
				return invalid("ranges: port %d is out of range: at most 65535", v.End)
			}
		}
	}
	if r.Name == GPUs && r.Scalar%Thousand != 0 {
		return invalid("scalar.value: %g GPUs cannot be had: only whole ones", Number(r.Scalar))
	}
	return nil
}

func (r *Resource) checkReservations() error {
	for i, v := range r.Reservations {
		at := fmt.Sprintf("reservations[%d]", i)
		if v.Role == "*" {
			return invalid("%s.role: cannot be reserved for *", at)
		}
		if err := CheckRole(v.Role); err != nil {
			return fmt.Errorf("%s.role: %w", at, err)
		}
		if i == 0 {
			continue
		}
		if !v.Dynamic {
			return invalid("%s.type: a refinement is DYNAMIC: only the first reservation can be STATIC", at)
		}
		if before := r.Reservations[i-1].Role; !Above(before, v.Role) {
			return invalid("%s.role: %q is not below %q, which it refines", at, v.Role, before)
		}
	}
	return nil
}

func (r *Resource) checkVolume() error {
	v := r.Volume
	if v == nil {
		return nil
	}
	if r.Name != Disk {
		return invalid("disk: only resources of the name disk can have it")
	}
	if v.ID == "" {
		return nil
	}
	if err := CheckID(v.ID); err != nil {
		return fmt.Errorf("disk.persistence.id: %w", err)
	}
	switch {
	case !r.Reserved():
		return invalid("disk.persistence: only reserved disk can hold a persistent volume")
	case v.ContainerPath == "":
		return invalid("disk.volume.container_path: is empty: say where the volume is mounted in the sandbox")
	case strings.HasPrefix(v.ContainerPath, "/") || escapes(v.ContainerPath):
		return invalid("disk.volume.container_path: %q must be relative and stay in the sandbox", v.ContainerPath)
	}
	return nil
}

func escapes(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// CheckID returns what is wrong with an id that becomes the name of a folder (Mesos'
// common/validation).
func CheckID(id string) error {
	switch {
	case id == "":
		return invalid("is empty")
	case len(id) > 255:
		return invalid("has %d bytes: at most 255", len(id))
	case id == "." || id == "..":
		return invalid("%q is no name", id)
	case strings.ContainsFunc(id, func(c rune) bool { return c < ' ' || c == 0x7f || c == '/' || c == '\\' }):
		return invalid("%q has a control character, / or \\", id)
	}
	return nil
}
