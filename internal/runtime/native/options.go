package native

import (
	"path/filepath"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

// initPath is where a container has the process that starts its own: docker's place.
const initPath = "/sbin/docker-init"

// initMount puts that program there.
func (b *builder) initMount() specs.Mount {
	return specs.Mount{Destination: initPath, Type: "bind", Source: filepath.Join(b.r.cfg.BinDir, "trireme-init"), Options: []string{"bind", "rprivate", "ro"}}
}

// rlimits are those of the container's processes, the others are the shim's.
func rlimits(all []runtime.Ulimit) (out []specs.POSIXRlimit) {
	for _, u := range all { // -1 is the kernel's word for no limit too
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return out
}

// namedGroups looks the container's groups up in its /etc/group.
func (b *builder) namedGroups() ([]int, error) {
	if len(b.cfg.Groups) == 0 {
		return nil, nil
	}
	f, err := openInRoot(b.root, "/etc/group")
	if err != nil {
		return nil, kind.New(kind.Invalid, "reading the image's /etc/group: %w", err)
	}
	defer f.Close()
	ids, err := user.GetAdditionalGroups(b.cfg.Groups, f)
	if err != nil {
		return nil, kind.New(kind.Invalid, "finding the groups %s in the image: %w", strings.Join(b.cfg.Groups, ", "), err)
	}
	return ids, nil
}

// ownSeccomp is a profile that came with the container.
func (b *builder) ownSeccomp(s *specs.Spec) (*specs.LinuxSeccomp, error) {
	p, err := seccomp.LoadProfile(string(b.cfg.Seccomp), s)
	if err != nil {
		return nil, kind.New(kind.Invalid, "reading the container's seccomp profile: %w", err)
	}
	return p, nil
}
