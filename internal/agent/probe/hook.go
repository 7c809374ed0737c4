package probe

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// hookExit is a hook's command that ended with another code than 0.
type hookExit struct {
	code   int
	output string
}

func (e hookExit) Error() string { return fmt.Sprintf("command exited with %d: %s", e.code, e.output) }

// hookStatus is a hook's request that was answered with an error.
type hookStatus int

func (e hookStatus) Error() string { return fmt.Sprintf("HTTP status %d", int(e)) }

// Hook runs a lifecycle hook; nil is no hook.
func Hook(ctx context.Context, h *corev1.LifecycleHandler, t Target, deadline time.Time) error {
	if h == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	switch {
	case h.Exec != nil:
		out, code, err := t.Exec(ctx, h.Exec.Command, time.Until(deadline))
		if err == nil && code != 0 {
			err = hookExit{code, out}
		}
		return err
	case h.HTTPGet != nil:
		status, _, err := t.Get(ctx, h.HTTPGet)
		if err == nil && status >= 400 {
			err = hookStatus(status)
		}
		return err
	case h.Sleep != nil:
		timer := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}
