package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger returns a zap logger that writes etcd's errors to log; its warnings
// (of settings that are ours on purpose, of slow disks) are for a developer.
// A fatal entry or a panic, with which etcd would end the process, goes to fatal
// instead and ends the goroutine it came from.
func zapLogger(log *slog.Logger, fatal chan<- error) *zap.Logger {
	return zap.New(&zapCore{log: log},
		zap.WithFatalHook(&fatalHook{fatal}), zap.WithPanicHook(&fatalHook{fatal}))
}

type zapCore struct{ log *slog.Logger }

func (c *zapCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{c.log.With(attrs(fields)...)}
}

func (c *zapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelDebug
	if e.Level >= zapcore.ErrorLevel && !atFirstStart[e.Message] {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, e.Message, attrs(fields)...)
	return nil
}

// atFirstStart are errors that etcd logs whenever its data folder is new.
var atFirstStart = map[string]bool{"failed to update storage version": true}

func (c *zapCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	var out []any
	for _, f := range fields {
		f.AddTo(enc)
		out = append(out, f.Key, enc.Fields[f.Key])
	}
	return out
}

type fatalHook struct{ fatal chan<- error }

func (h *fatalHook) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := fmt.Errorf("etcd: %s", ce.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = fmt.Errorf("etcd: %s: %w", ce.Message, cause)
			if errors.Is(cause, syscall.ENOSPC) || strings.Contains(cause.Error(), "no space left") {
				err = fmt.Errorf("%w: %w", errDiskFull, err)
			}
		}
	}
	select {
	case h.fatal <- err:
	default:
	}
	runtime.Goexit()
}
