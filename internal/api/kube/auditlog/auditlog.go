package auditlog

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/apimachinery/pkg/util/wait"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	"k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/webhook"

	"trireme/internal/kind"
)

// Config says what is written down and where. The zero value is off.
type Config struct {
	PolicyFile string `json:"policyFile"` // which requests, and how much of each; required by the others
	LogPath    string `json:"logPath"`    // a file of JSON lines; "-": standard output
	LogMaxMiB  int    `json:"logMaxMiB"`  // size at which the file is put aside [100]
	LogBackups int    `json:"logBackups"` // how many put aside files are kept [10]
	LogMaxDays int    `json:"logMaxDays"` // how long they are kept; 0: for ever
	// WebhookFile is a kubeconfig that says where events are posted to.
	WebhookFile string `json:"webhookFile"`
}

// Log is an open audit log. A nil Log is off.
type Log struct {
	// Rules decide how much of a request is written down.
	Rules audit.PolicyRuleEvaluator
	// Sink takes the events.
	Sink audit.Backend
	file io.Closer
}

// batches are how the webhook is sent events.
var batches = buffered.BatchConfig{
	BufferSize: 10_000, MaxBatchSize: 400, MaxBatchWait: time.Second,
	ThrottleEnable: true, ThrottleQPS: 10, ThrottleBurst: 15, AsyncDelegate: true,
}

// Open opens what the configuration names; nil where it names nothing. Errors
// name the setting.
func Open(cfg Config) (*Log, error) {
	if cfg.LogPath == "" && cfg.WebhookFile == "" {
		if cfg.PolicyFile != "" {
			return nil, invalid("logPath", "a policy alone writes nothing: give --audit-log-path or --audit-webhook-config-file too")
		}
		return nil, nil
	}
	if cfg.PolicyFile == "" {
		return nil, invalid("policyFile", "an audit log needs a policy that says what is written: give --audit-policy-file")
	}
	p, err := policy.LoadPolicyFromFile(cfg.PolicyFile)
	if err != nil {
		return nil, invalid("policyFile", "%w", err)
	}
	l := &Log{Rules: policy.NewPolicyRuleEvaluator(p)}
	var sinks []audit.Backend
	if cfg.LogPath != "" {
		out, err := l.open(cfg)
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, log.NewBackend(out, log.FormatJson, auditv1.SchemeGroupVersion))
	}
	if cfg.WebhookFile != "" {
		backoff := wait.Backoff{Duration: time.Second, Factor: 1.5, Jitter: 0.2, Steps: 5}
		hook, err := webhook.NewBackend(cfg.WebhookFile, auditv1.SchemeGroupVersion, backoff, nil)
		if err != nil {
			return nil, invalid("webhookFile", "%w", err)
		}
		sinks = append(sinks, buffered.NewBackend(hook, batches))
	}
	l.Sink = audit.Union(sinks...)
	return l, nil
}

// open opens the file, so that one that cannot be written is known at the start.
func (l *Log) open(cfg Config) (io.Writer, error) {
	if cfg.LogPath == "-" {
		return os.Stdout, nil
	}
	if err := os.MkdirAll(filepath.Dir(cfg.LogPath), 0o700); err != nil {
		return nil, invalid("logPath", "%w", err)
	}
	f, err := os.OpenFile(cfg.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, invalid("logPath", "%w", err)
	}
	f.Close()
	out := &lumberjack.Logger{Filename: cfg.LogPath, MaxSize: cfg.LogMaxMiB, MaxBackups: cfg.LogBackups, MaxAge: cfg.LogMaxDays}
	l.file = out
	return out, nil
}

func invalid(field, format string, args ...any) error {
	return &kind.Error{Kind: kind.Invalid, Field: "manager.audit." + field, Err: fmt.Errorf(format, args...)}
}

// Run sends what is batched until ctx ends, and then what is left.
func (l *Log) Run(ctx context.Context) error {
	if l == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := l.Sink.Run(ctx.Done()); err != nil {
		return fmt.Errorf("starting the audit log: %w", err)
	}
	<-ctx.Done()
	l.Sink.Shutdown()
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			return fmt.Errorf("closing the audit log: %w", err)
		}
	}
	return ctx.Err()
}
