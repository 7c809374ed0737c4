package native

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"

	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

func itoa(n int) string { return strconv.Itoa(n) }

// user resolves who the container runs as, names in the image's own files.
func (b *builder) user() (*specs.User, error) {
	who := b.cfg.RunAsUserName
	if b.cfg.RunAsUser != nil {
		who = strconv.FormatInt(*b.cfg.RunAsUser, 10)
	}
	if who == "" && b.cfg.RunAsGroup != nil && b.image.User == "" {
		who = "0"
	}
	if who == "" {
		who = b.image.User
	}
	found, err := b.lookUp(who)
	if err != nil {
		return nil, err
	}
	gid := int64(found.Gid)
	if b.cfg.RunAsGroup != nil {
		gid = *b.cfg.RunAsGroup
	}
	groups := []uint32{uint32(gid)}
	if policy := b.sandbox.Security; policy == nil || deref(policy.SupplementalGroupsPolicy) != corev1.SupplementalGroupsPolicyStrict {
		for _, g := range found.Sgids { // what the image's /etc/group says
			groups = append(groups, uint32(g))
		}
	}
	named, err := b.namedGroups()
	if err != nil {
		return nil, err
	}
	for _, g := range named {
		groups = append(groups, uint32(g))
	}
	for _, g := range runtime.Groups(b.sandbox, b.cfg.SupplementalGroups) {
		groups = append(groups, uint32(g))
	}
	slices.Sort(groups)
	return &specs.User{UID: uint32(found.Uid), GID: uint32(gid), AdditionalGids: slices.Compact(groups)}, nil
}

// lookUp reads /etc/passwd and /etc/group of the container's root, which an
// image may lack.
func (b *builder) lookUp(who string) (*user.ExecUser, error) {
	passwd, err := openInRoot(b.root, "/etc/passwd")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, kind.New(kind.Invalid, "reading the image's /etc/passwd: %w", err)
	}
	defer passwd.Close()
	group, err := openInRoot(b.root, "/etc/group")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, kind.New(kind.Invalid, "reading the image's /etc/group: %w", err)
	}
	defer group.Close()
	var p, g io.Reader
	if passwd != nil {
		p = io.LimitReader(passwd, accountsMax)
	}
	if group != nil {
		g = io.LimitReader(group, accountsMax)
	}
	found, err := user.GetExecUser(who, nil, p, g)
	if err != nil {
		return nil, kind.New(kind.Invalid, "finding user %q in the image: %w", who, err)
	}
	return found, nil
}

// accountsMax is how much is read of an image's list of users.
const accountsMax = 4 << 20
