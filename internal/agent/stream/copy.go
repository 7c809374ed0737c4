package stream

import (
	"bytes"
	"context"
	"time"
)

// Lines takes what a log holds.
type Lines interface {
	// Line takes a line with its end, or a part of a long one; at is zero for the parts of
	// one line but the first.
	Line(isErr bool, at time.Time, text []byte) error
	// Flush is called where there is no more for now.
	Flush() error
}

// Logs copies logs on the node itself. The zero value is ready.
type Logs struct{ files logFiles }

// Copy gives to what the log at path holds from since on, and what comes until running says
// no and all is read, or ctx ends.
func (l *Logs) Copy(ctx context.Context, path string, since time.Time, running func() bool, to Lines) error {
	p := &printer{o: LogOptions{TailLines: -1, Since: since}, to: to}
	return l.files.follow(ctx, path, running, p)
}

// Look has who copies the log at path look at it, and whether its container runs, now.
func (l *Logs) Look(path string) {
	l.files.mu.Lock()
	t := l.files.tails[path]
	l.files.mu.Unlock()
	if t != nil {
		t.refresh()
	}
}

// pass hands a line, or its beginning, on.
func (p *printer) pass(stamp, name, text []byte) error {
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return nil // not a line of the format: a crash tore it
	}
	p.isErr = bytes.Equal(name, []byte("stderr"))
	return p.to.Line(p.isErr, at, text)
}
