package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"trireme/internal/kind"
)

// LogOptions are the parameters of a log request (Kubernetes, API reference of
// PodLogOptions).
type LogOptions struct {
	Follow, Timestamps bool
	Previous           bool
	TailLines          int64 // negative: all
	LimitBytes         int64 // 0: no limit
	Since              time.Time
	Stream             string // "Stdout", "Stderr"; empty: both
}

func logOptions(q url.Values, now time.Time) (LogOptions, error) {
	o := LogOptions{
		Follow: flag(q, "follow"), Timestamps: flag(q, "timestamps"), Previous: flag(q, "previous"), TailLines: -1,
	}
	if s := q.Get("stream"); s != "" && s != "All" {
		if s != "Stdout" && s != "Stderr" {
			return o, kind.New(kind.Invalid, "stream: %q is none of All, Stdout, Stderr", s)
		}
		o.Stream = s
	}
	var since int64
	for name, to := range map[string]*int64{"tailLines": &o.TailLines, "limitBytes": &o.LimitBytes, "sinceSeconds": &since} {
		s := q.Get(name)
		if s == "" {
			continue
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return o, kind.New(kind.Invalid, "%s: %q is not a number from 0 on", name, s)
		}
		*to = n
	}
	if since > 0 {
		o.Since = now.Add(-time.Duration(since) * time.Second)
	}
	if s := q.Get("sinceTime"); s != "" {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return o, kind.New(kind.Invalid, "sinceTime: %w", err)
		}
		o.Since = t
	}
	return o, nil
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	o, err := logOptions(r.URL.Query(), time.Now())
	if err != nil {
		fail(w, err)
		return
	}
	pod, name := podOf(r), r.PathValue("container")
	c, err := s.cfg.Pods.Container(pod, name)
	if err != nil {
		fail(w, err)
		return
	}
	if o.Previous {
		if c.Attempt == 0 {
			fail(w, kind.New(kind.Invalid, "previous terminated container %q in pod %q not found", name, pod.Name))
			return
		}
		c.Attempt, c.Running = c.Attempt-1, false
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	path := filepath.Join(c.LogDir, strconv.Itoa(int(c.Attempt))+".log")
	running := func() bool {
		now, err := s.cfg.Pods.Container(pod, name)
		return err == nil && now.Running && now.ID == c.ID && !o.Previous
	}
	if err := s.logFiles.read(r.Context(), path, o, running, w); err != nil && r.Context().Err() == nil {
		s.cfg.Log.Warn("reading a log", "pod", pod.String(), "container", name, "err", err)
		fmt.Fprintf(w, "reading the log: %v\n", err)
	}
}

// errLimit ends a log at its limit of bytes.
var errLimit = errors.New("limit reached")

// endPoll is how often a follower asks whether its container still runs: a
// container's end writes nothing that inotify could tell.
const endPoll = time.Second

// logFiles reads logs for any number of clients. The zero value is ready.
type logFiles struct{ watches watches }

// read writes the log at path to w. A followed one goes on until ctx ends or running
// says no and all is read.
func (r *logFiles) read(ctx context.Context, path string, o LogOptions, running func() bool, w io.Writer) error {
	p := &printer{o: o, w: w, limit: o.LimitBytes}
	var changed <-chan struct{}
	if o.Follow {
		c, stop, err := r.watches.add(filepath.Dir(path))
		if err != nil {
			return err
		}
		defer stop()
		changed = c
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) && !o.Follow {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l := &follower{path: path, file: f, p: p}
	defer l.close()
	if f != nil && o.TailLines >= 0 {
		at, err := tailOffset(f, o.TailLines)
		if err == nil {
			_, err = f.Seek(at, io.SeekStart)
		}
		if err != nil {
			return err
		}
	}
	err = l.read()
	if err == nil && o.Follow {
		p.flush()
		err = l.follow(ctx, changed, running)
	}
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// follower reads a file that grows and is renamed away when it is rotated.
type follower struct {
	path string
	file *os.File
	rest []byte // the beginning of a line whose end is not there yet
	p    *printer
}

func (l *follower) close() {
	if l.file != nil {
		l.file.Close()
	}
}

// buffers are for reading files: a follower that waits needs none.
var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 64<<10) }}

// read prints all whole lines there are.
func (l *follower) read() error {
	if l.file == nil {
		return nil
	}
	b := buffers.Get().(*bufio.Reader)
	b.Reset(l.file)
	defer func() {
		b.Reset(nil) // or it would hold the file
		buffers.Put(b)
	}()
	for {
		line, err := b.ReadBytes('\n')
		if len(l.rest) > 0 {
			line = append(l.rest, line...)
			l.rest = nil
		}
		if err != nil {
			l.rest = line
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := l.p.line(line); err != nil {
			return err
		}
	}
}

// rotated reports whether path is another file by now, and opens it.
func (l *follower) rotated() (bool, error) {
	st, err := os.Stat(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if l.file != nil {
		have, err := l.file.Stat()
		if err != nil || os.SameFile(st, have) {
			return false, err
		}
		if err := l.read(); err != nil { // what came before it was renamed
			return false, err
		}
		l.file.Close()
		l.rest = nil
	}
	l.file, err = os.Open(l.path)
	return true, err
}

func (l *follower) follow(ctx context.Context, changed <-chan struct{}, running func() bool) error {
	t := time.NewTicker(endPoll)
	defer t.Stop()
	for {
		on := running() // before reading: what it wrote until its end is there
		if err := l.read(); err != nil {
			return err
		}
		if again, err := l.rotated(); err != nil {
			return err
		} else if again {
			continue
		}
		l.p.flush()
		if !on {
			return nil
		}
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// printer writes lines of the CRI log format as users want them.
type printer struct {
	o       LogOptions
	w       io.Writer
	limit   int64
	written int64
	partial bool // the last line had no end
}

func (p *printer) flush() {
	if f, ok := p.w.(http.Flusher); ok {
		f.Flush()
	}
}

// line prints "TIME STREAM TAG TEXT\n".
func (p *printer) line(b []byte) error {
	stamp, rest, ok1 := bytes.Cut(b, []byte{' '})
	name, rest, ok2 := bytes.Cut(rest, []byte{' '})
	tag, text, ok3 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 || !ok3 {
		return nil // not a line of the format: a crash tore it
	}
	if p.o.Stream != "" && !bytes.EqualFold(name, []byte(p.o.Stream)) {
		return nil
	}
	if !p.o.Since.IsZero() {
		at, err := time.Parse(time.RFC3339Nano, string(stamp))
		if err != nil || at.Before(p.o.Since) {
			return nil
		}
	}
	whole := !bytes.HasPrefix(tag, []byte{'P'})
	if p.o.Timestamps && !p.partial {
		if err := p.write(append(append([]byte(nil), stamp...), ' ')); err != nil {
			return err
		}
	}
	if !whole {
		text = bytes.TrimSuffix(text, []byte{'\n'})
	}
	p.partial = !whole
	return p.write(text)
}

func (p *printer) write(b []byte) error {
	over := p.limit > 0 && p.written+int64(len(b)) >= p.limit
	if over {
		b = b[:p.limit-p.written]
	}
	n, err := p.w.Write(b)
	p.written += int64(n)
	if err == nil && over {
		err = errLimit
	}
	return err
}

// tailOffset returns where the last n lines begin.
func tailOffset(f *os.File, n int64) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end := st.Size()
	if n == 0 {
		return end, nil
	}
	buf := make([]byte, 64<<10)
	found := int64(0)
	for at := end; at > 0; {
		size := min(at, int64(len(buf)))
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil {
			return 0, err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+i == end-1 {
				continue
			}
			if found++; found == n {
				return at + i + 1, nil
			}
		}
	}
	return 0, nil
}
