package native

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"

	"trireme/internal/kind"
	"trireme/internal/runtime"
	"trireme/internal/runtime/shim"
)

// UpdateContainer changes the limits of a running container. The OCI runtime
// writes them itself: it knows in which order the kernel takes them, and no shim
// has to live for it.
func (r *Runtime) UpdateContainer(ctx context.Context, id string, limits runtime.Resources) error {
	const op = "changing the limits of container"
	c := r.container(id)
	if c == nil {
		return &kind.Error{Kind: kind.NotFound, Op: op, Object: id}
	}
	c.op.Lock()
	defer c.op.Unlock()
	if r.stateOf(c) != runtime.Running {
		return &kind.Error{Kind: kind.NotFound, Op: op, Object: id, Err: kind.New(kind.NotFound, "it does not run")}
	}
	if err := r.update(ctx, id, limits); err != nil {
		return &kind.Error{Kind: kind.Of(err), Op: op, Object: id, Err: err}
	}
	return nil
}

func (r *Runtime) update(ctx context.Context, id string, limits runtime.Resources) error {
	rec, err := shim.Read[shim.Record](r.dir.Container(id, shim.RecordFile))
	if err != nil {
		return err
	}
	in, err := json.Marshal(resources(limits))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, rec.Runtime, "--root", r.dir.RuntimeRoot(), "update", "--resources", "/dev/stdin", id)
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		return kind.New(kind.Unavailable, "%s: %s: %w", rec.Runtime, strings.TrimSpace(string(out)), err)
	}
	return nil
}
