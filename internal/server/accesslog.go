package server

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"

	"trireme/internal/kind"
)

// The access log is put aside at this size, and so many of those are kept.
const (
	accessLogMiB     = 100
	accessLogBackups = 3
)

// openAccessLog opens the access log of ingress, nil for the empty path; one that cannot
// be written is known at once.
func openAccessLog(path string) (io.Writer, error) {
	switch path {
	case "":
		return nil, nil
	case "-":
		return os.Stdout, nil
	}
	invalid := func(err error) error {
		return &kind.Error{Kind: kind.Invalid, Field: "agent.ingressAccessLog", Err: fmt.Errorf("%w: name a file that can be written, or - for standard output", err)}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, invalid(err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, invalid(err)
	}
	f.Close()
	return &lumberjack.Logger{Filename: path, MaxSize: accessLogMiB, MaxBackups: accessLogBackups}, nil
}
