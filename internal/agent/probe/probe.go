package probe

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Result is a probe's answer.
type Result uint8

// The answers. Unknown: the probe itself could not be made; it counts as neither.
const (
	Unknown Result = iota
	Success
	Failure
)

// Exec runs a command in the probed container.
type Exec func(ctx context.Context, cmd []string, timeout time.Duration) (output string, code int, err error)

// Target is what is probed.
type Target struct {
	IP    string // the pod's address
	Ports map[string]int32
	Exec  Exec
}

// Outcome is one answer and whether it has held for as long as the probe's
// threshold asks.
type Outcome struct {
	Result  Result
	Message string
	Counts  bool
}

// The defaults of the API for probes that did not pass through it.
const (
	defaultPeriod    = 10 * time.Second
	defaultTimeout   = time.Second
	defaultThreshold = 3
)

// Run probes from started plus the initial delay on until ctx ends or tell
// returns false. The first probe of a container that runs for long already is
// moved by chance within a period.
func Run(ctx context.Context, p *corev1.Probe, t Target, started time.Time, tell func(Outcome) bool) {
	every := seconds(p.PeriodSeconds, defaultPeriod)
	delay := seconds(p.InitialDelaySeconds, 0)
	first := min(time.Until(started.Add(delay)), delay) // not longer, should the clock have been set back
	if first < -every {                                 // an old container: an agent that comes back does not probe all at once
		first = rand.N(every)
	}
	timer := time.NewTimer(max(first, 0))
	defer timer.Stop()
	var last Result
	var run int32
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		result, message := Check(ctx, p, t)
		if ctx.Err() != nil {
			return
		}
		if result != Unknown {
			if result != last {
				last, run = result, 0
			}
			run++
			if !tell(Outcome{Result: result, Message: message, Counts: run >= threshold(p, result)}) {
				return
			}
		}
		timer.Reset(max(every-time.Since(began), 0))
	}
}

func threshold(p *corev1.Probe, r Result) int32 {
	if r == Success {
		return max(p.SuccessThreshold, 1)
	}
	if p.FailureThreshold <= 0 {
		return defaultThreshold
	}
	return p.FailureThreshold
}

func seconds(n int32, otherwise time.Duration) time.Duration {
	if n <= 0 {
		return otherwise
	}
	return time.Duration(n) * time.Second
}

// Check probes once.
func Check(ctx context.Context, p *corev1.Probe, t Target) (Result, string) {
	timeout := seconds(p.TimeoutSeconds, defaultTimeout)
	if p.Exec != nil {
		return checkExec(ctx, p.Exec, t, timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case p.HTTPGet != nil:
		return checkHTTP(ctx, p.HTTPGet, t)
	case p.TCPSocket != nil:
		return checkTCP(ctx, p.TCPSocket, t)
	case p.GRPC != nil:
		return checkGRPC(ctx, p.GRPC, t)
	}
	return Unknown, "missing probe handler"
}

func checkExec(ctx context.Context, a *corev1.ExecAction, t Target, timeout time.Duration) (Result, string) {
	out, code, err := t.Exec(ctx, a.Command, timeout)
	switch {
	case err != nil && ctx.Err() != nil:
		return Unknown, err.Error()
	case err != nil:
		return Failure, fmt.Sprintf("command timed out or could not run: %v", err)
	case code != 0:
		return Failure, out
	}
	return Success, out
}
