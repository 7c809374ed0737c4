package kube

import (
	"context"
	"log/slog"

	"k8s.io/klog/v2"
)

// quietly passes on what the library logs through klog, which is one logger for
// the whole process: its errors as errors, the rest for a developer.
type quietly struct{ slog.Handler }

// expected are errors the library logs whenever a client ends a stream.
var expected = map[string]bool{
	"Error on socket receive": true, "Error proxying data from client to backend": true, "Error proxying data from backend to client": true,
}

// Handle implements slog.Handler.
func (h quietly) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelError || expected[r.Message] {
		r.Level = slog.LevelDebug
		if !h.Handler.Enabled(ctx, r.Level) {
			return nil
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h quietly) WithAttrs(a []slog.Attr) slog.Handler { return quietly{h.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (h quietly) WithGroup(name string) slog.Handler { return quietly{h.Handler.WithGroup(name)} }

// logLibrary sends what k8s.io/apiserver logs to log.
func logLibrary(log *slog.Logger) { klog.SetSlogLogger(slog.New(quietly{log.Handler()})) }
