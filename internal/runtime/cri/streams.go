package cri

import (
	"context"
	"fmt"
	"net/url"
	"time"

	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/runtime"
)

// ExecSync runs a command in a running container and returns what it wrote. A
// command that does not end within timeout (rounded up to seconds; zero: the
// context's) is killed and the error is kind.Timeout.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, code int, err error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		// The runtime keeps the time; this only guards against a runtime that hangs.
		ctx, cancel = context.WithTimeout(ctx, timeout+quickTimeout)
		defer cancel()
	}
	res, err := r.calls.ExecSync(ctx, &criv1.ExecSyncRequest{ContainerId: id, Cmd: cmd, Timeout: seconds(timeout)})
	if err != nil {
		return nil, nil, 0, classify(err, "executing in container", id)
	}
	return res.Stdout, res.Stderr, int(res.ExitCode), nil
}

// Exec returns where to stream a command's input and output.
func (r *Runtime) Exec(ctx context.Context, id string, opts runtime.StreamOptions) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	res, err := r.calls.Exec(ctx, &criv1.ExecRequest{
		ContainerId: id, Cmd: opts.Cmd, Tty: opts.TTY, Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr,
	})
	if err != nil {
		return nil, classify(err, "preparing exec in container", id)
	}
	return parse(res.Url)
}

// Attach returns where to stream the first process's input and output.
func (r *Runtime) Attach(ctx context.Context, id string, opts runtime.StreamOptions) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	res, err := r.calls.Attach(ctx, &criv1.AttachRequest{
		ContainerId: id, Tty: opts.TTY, Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr,
	})
	if err != nil {
		return nil, classify(err, "preparing attach to container", id)
	}
	return parse(res.Url)
}

// PortForward returns where to stream connections to ports of a sandbox.
func (r *Runtime) PortForward(ctx context.Context, sandboxID string, ports []int32) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	res, err := r.calls.PortForward(ctx, &criv1.PortForwardRequest{PodSandboxId: sandboxID, Port: ports})
	if err != nil {
		return nil, classify(err, "preparing port forwarding to sandbox", sandboxID)
	}
	return parse(res.Url)
}

func parse(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("reading the runtime's streaming address: %w", err)
	}
	return u, nil
}

// ReopenLog makes the runtime open the container's log path anew.
func (r *Runtime) ReopenLog(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	_, err := r.calls.ReopenContainerLog(ctx, &criv1.ReopenContainerLogRequest{ContainerId: id})
	return classify(err, "reopening the log of container", id)
}
