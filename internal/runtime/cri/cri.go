package cri

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

var _ runtime.Runtime = (*Runtime)(nil)

// Time limits by class of call. Those of the agent's context apply as well.
const (
	quickTimeout = 15 * time.Second // asks
	slowTimeout  = 2 * time.Minute  // makes, starts, stops and removes
	messageMax   = 16 << 20         // bytes; a list of a full node is about 1 MB
)

// Config says which runtime to speak to, and how.
type Config struct {
	// Endpoint is the runtime's socket, "unix:///…" or a path. Required.
	Endpoint string
	// Owner is the value of the label that marks what is ours; empty: "trireme".
	Owner string
	// SeccompDefault gives containers that name no seccomp profile the runtime's
	// default one; false leaves them unconfined, as Kubernetes does.
	SeccompDefault bool
	// SeccompRoot is the folder of Localhost seccomp profiles.
	SeccompRoot string
	// Log is required.
	Log *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Endpoint == "":
		return kind.New(kind.Invalid, "cri: no endpoint given")
	case c.Log == nil:
		return kind.New(kind.Invalid, "cri: no logger given")
	}
	if !strings.Contains(c.Endpoint, "://") {
		c.Endpoint = "unix://" + c.Endpoint
	}
	if c.Owner == "" {
		c.Owner = "trireme"
	}
	return nil
}

// Runtime is a connection to a CRI runtime.
type Runtime struct {
	cfg    Config
	conn   *grpc.ClientConn
	calls  criv1.RuntimeServiceClient
	images criv1.ImageServiceClient
}

// New returns a Runtime; it does not wait for the other side to answer (Check
// does that). Close it when done.
func New(cfg Config) (*Runtime, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(cfg.Endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageMax), grpc.MaxCallSendMsgSize(messageMax)),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: 5 * time.Second,
			// A local socket: try again soon, a restart takes half a second.
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", cfg.Endpoint, &kind.Error{Kind: kind.Invalid, Err: err})
	}
	return &Runtime{
		cfg:    cfg,
		conn:   conn,
		calls:  criv1.NewRuntimeServiceClient(conn),
		images: criv1.NewImageServiceClient(conn),
	}, nil
}

// Close ends the connection; calls in flight fail.
func (r *Runtime) Close() error { return r.conn.Close() }

// Version returns the runtime's name and version, as "containerd v2.4.2".
func (r *Runtime) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	v, err := r.calls.Version(ctx, &criv1.VersionRequest{})
	if err != nil {
		return "", classify(err, "asking the runtime's version", "")
	}
	return v.RuntimeName + " " + v.RuntimeVersion, nil
}

// Check returns nil when the runtime answers and says that containers and
// network are ready, and what it says otherwise.
func (r *Runtime) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	res, err := r.calls.Status(ctx, &criv1.StatusRequest{})
	if err != nil {
		return classify(err, "asking the runtime's status", "")
	}
	for _, want := range []string{criv1.RuntimeReady, criv1.NetworkReady} {
		if err := condition(res.GetStatus().GetConditions(), want); err != nil {
			return err
		}
	}
	return nil
}

func condition(all []*criv1.RuntimeCondition, want string) error {
	for _, c := range all {
		if c.Type != want {
			continue
		}
		if c.Status {
			return nil
		}
		return kind.New(kind.Unavailable, "runtime: %s is false: %s: %s", want, c.Reason, c.Message)
	}
	return kind.New(kind.Unavailable, "runtime does not report %s", want)
}

// WaitAnswer blocks until the runtime answers or ctx ends: for somebody who has
// just started it.
func (r *Runtime) WaitAnswer(ctx context.Context) error {
	for {
		_, err := r.calls.Version(ctx, &criv1.VersionRequest{}, grpc.WaitForReady(true))
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return classify(err, "waiting for the runtime", "")
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // it listens and is not set up yet
		}
	}
}
