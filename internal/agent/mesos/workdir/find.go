package workdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"trireme/internal/kind"
)

// namespaceFile holds, in an executor's folder, the namespace whose users its sandboxes are.
const namespaceFile = ".namespace"

// Place is a file or a folder of a sandbox.
type Place struct {
	Namespace string
	root      *os.Root
	name      string // in the sandbox
}

// depth is how many folders lie between the work directory and a sandbox's content:
// slaves/A/frameworks/F/executors/E/runs/C.
const depth = 8

// Find returns what a path on the node, or below the work directory, names; it is in a sandbox,
// whose run may be called latest. kind.NotFound: it is not.
func (k *Keeper) Find(name string) (*Place, error) {
	none := kind.New(kind.NotFound, "%q is in no sandbox of this agent", name)
	below, err := filepath.Rel(k.cfg.Dir, filepath.Clean(name))
	if err != nil || !filepath.IsLocal(below) {
		below = strings.TrimPrefix(filepath.Clean("/"+name), "/")
	}
	parts := strings.Split(below, "/")
	if len(parts) < depth || parts[0] != "slaves" || parts[2] != "frameworks" || parts[4] != "executors" || parts[6] != "runs" {
		return nil, none
	}
	executor := filepath.Join(append([]string{k.cfg.Dir}, parts[:6]...)...)
	namespace, err := os.ReadFile(filepath.Join(executor, namespaceFile))
	if err != nil {
		return nil, none
	}
	run := filepath.Join(executor, "runs", parts[7])
	if parts[7] == "latest" {
		to, err := os.Readlink(run)
		if err != nil || !filepath.IsLocal(to) {
			return nil, none
		}
		run = filepath.Join(executor, "runs", to)
	}
	root, err := os.OpenRoot(run)
	if err != nil {
		return nil, none
	}
	rest := filepath.Join(parts[depth:]...)
	if rest == "" {
		rest = "."
	}
	return &Place{Namespace: string(namespace), root: root, name: rest}, nil
}

// Close lets go of the place.
func (p *Place) Close() error { return p.root.Close() }

// List returns what the folder holds, sorted by name.
func (p *Place) List() ([]fs.FileInfo, error) {
	f, err := p.root.OpenFile(p.name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, p.fault(err)
	}
	defer f.Close()
	all, err := f.Readdir(-1)
	if err != nil {
		return nil, p.fault(err)
	}
	slices.SortFunc(all, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// File opens the file.
func (p *Place) File() (*os.File, error) {
	f, err := openFile(p.root, p.name, os.O_RDONLY)
	if err != nil {
		return nil, p.fault(err)
	}
	return f, nil
}

func (p *Place) fault(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return kind.New(kind.NotFound, "there is no %s", p.name)
	}
	return kind.New(kind.Invalid, "%w", fmt.Errorf("opening %s: %w", p.name, err))
}
