package shim

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// lineBytesMax is the longest piece of a line in the log, as in containerd: a
// longer line is cut into partial ones.
const lineBytesMax = 16 << 10

// logFile is a container's log in the CRI format (k8s.io/cri-api,
// PodSandboxConfig.log_directory): "TIME STREAM F|P LINE".
type logFile struct {
	path string

	mu sync.Mutex
	f  *os.File // nil: nothing is written
}

func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	return l, l.reopen()
}

// reopen opens the path anew: after a rotation it is another file.
func (l *logFile) reopen() error {
	if l.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return fmt.Errorf("making the log's folder: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Close() // the old one, if any
	l.f = f
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Close()
	l.f = nil
}

// write appends entries; what does not fit on the disk is lost, the container
// goes on.
func (l *logFile) write(entries []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil && len(entries) > 0 {
		_, _ = l.f.Write(entries)
	}
}

// lines turns a stream into log entries. It is used by one goroutine.
type lines struct {
	stream string // "stdout", "stderr"
	open   []byte // a line that has not ended yet
	out    []byte // reused
}

// add returns the entries that the bytes complete; they are valid until the
// next call.
func (l *lines) add(b []byte, now time.Time) []byte {
	l.out = l.out[:0]
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		if len(l.open) > 0 {
			room := lineBytesMax - len(l.open)
			line = line[:min(len(line), room)]
			l.open = append(l.open, line...)
			b = b[len(line):]
			switch {
			case whole && len(b) > 0 && b[0] == '\n':
				l.entry('F', l.open, now)
				l.open, b = l.open[:0], b[1:]
			case len(l.open) == lineBytesMax:
				l.entry('P', l.open, now)
				l.open = l.open[:0]
			}
			continue
		}
		switch {
		case len(line) > lineBytesMax:
			l.entry('P', line[:lineBytesMax], now)
			b = b[lineBytesMax:]
		case whole:
			l.entry('F', line, now)
			b = rest
		default:
			l.open, b = append(l.open, line...), nil
		}
	}
	if len(l.open) == 0 {
		l.open = nil // streams are mostly silent: they should cost nothing then
	}
	return l.out
}

// end returns the entry of a last line without an end.
func (l *lines) end(now time.Time) []byte {
	l.out = l.out[:0]
	if len(l.open) > 0 {
		l.entry('P', l.open, now)
		l.open = nil
	}
	return l.out
}

func (l *lines) entry(tag byte, line []byte, now time.Time) {
	l.out = now.UTC().AppendFormat(l.out, "2006-01-02T15:04:05.000000000Z07:00")
	l.out = append(l.out, ' ')
	l.out = append(l.out, l.stream...)
	l.out = append(l.out, ' ', tag, ' ')
	l.out = append(l.out, line...)
	l.out = append(l.out, '\n')
}
