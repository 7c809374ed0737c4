package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
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
	// Origin says before each line which output it is of: "1 " or "2 ". It is our own
	// doors' parameter.
	Origin bool
}

func logOptions(q url.Values, now time.Time) (LogOptions, error) {
	o := LogOptions{
		Follow: flag(q, "follow"), Timestamps: flag(q, "timestamps"), Previous: flag(q, "previous"), TailLines: -1, Origin: flag(q, "origin"),
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
	o.Follow = o.Follow && !o.Previous
	running := func() bool {
		now, err := s.cfg.Pods.Container(pod, name)
		return err == nil && now.Running && now.ID == c.ID
	}
	if err := s.logFiles.read(r.Context(), path, o, running, w); err != nil && r.Context().Err() == nil {
		s.cfg.Log.Warn("reading a log", "pod", pod.String(), "container", name, "err", err)
		fmt.Fprintf(w, "reading the log: %v\n", err)
	}
}

// errLimit ends a log at its limit of bytes.
var errLimit = errors.New("limit reached")

// logFiles reads logs for any number of clients. The zero value is ready.
type logFiles struct {
	watches watches

	mu    sync.Mutex
	tails map[string]*tail // of the logs that are followed, by path
}

// read writes the log at path to w. A followed one goes on until ctx ends or running
// says no and all is read.
func (r *logFiles) read(ctx context.Context, path string, o LogOptions, running func() bool, w io.Writer) error {
	p := &printer{o: o, w: w, limit: o.LimitBytes}
	err := error(nil)
	if o.Follow {
		err = r.follow(ctx, path, running, p)
	} else {
		err = readAll(path, p)
	}
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// readAll prints what is in the log at path now.
func readAll(path string, p *printer) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	at, err := start(f, p.o.TailLines)
	if err == nil {
		_, err = p.lines(f, at)
	}
	return err
}

// follow prints what the log's files have, one after the other, and what comes.
func (r *logFiles) follow(ctx context.Context, path string, running func() bool, p *printer) error {
	t, err := r.join(path, running)
	if err != nil {
		return err
	}
	defer r.leave(t)
	var file *generation
	defer func() { t.release(file) }()
	for from, late := int64(0), false; ; {
		now := t.look(file) // before reading: what was written until then is there
		if file != nil {
			from, err = p.lines(file.f, from)
		} else if now.next != nil && !late {
			from, err = start(now.next.f, p.o.TailLines)
		}
		if err != nil {
			t.release(now.next)
			return err
		}
		if now.next != nil {
			if file != nil {
				from, p.inside = 0, false
			}
			t.release(file)
			file = now.next
			continue
		}
		if err := p.flush(); err != nil || now.err != nil || now.ended {
			return errors.Join(err, now.err)
		}
		late = true // what begins from here on is read from its beginning
		select {
		case <-now.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// start returns where reading begins that should show the last so many lines; negative:
// all.
func start(f *os.File, lines int64) (int64, error) {
	if lines < 0 {
		return 0, nil
	}
	return tailOffset(f, lines)
}

// bufferBytes hold a line of the usual runtimes, which cut them at 16 KiB, and what stands
// before it.
const bufferBytes = 17 << 10

// buffers are for reading files: a follower that waits needs none.
var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferBytes) }}

// lines prints the whole lines of f from an offset on, and returns where they end. Of a
// line that is longer than the buffer it prints what there is.
func (p *printer) lines(f io.ReaderAt, from int64) (int64, error) {
	b := buffers.Get().(*bufio.Reader)
	b.Reset(io.NewSectionReader(f, from, math.MaxInt64-from))
	defer func() {
		b.Reset(nil) // or it would hold the file
		buffers.Put(b)
	}()
	for {
		piece, err := b.ReadSlice('\n')
		if errors.Is(err, io.EOF) && !p.inside {
			return from, nil // the beginning of a line whose end is not there yet
		}
		if len(piece) > 0 {
			if err := p.piece(piece); err != nil {
				return from, err
			}
			from += int64(len(piece))
		}
		if errors.Is(err, io.EOF) {
			return from, nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return from, err
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
	inside  bool // the last piece was of a line that goes on
	shown   bool // that line is printed

	to    Lines // takes what w would; nil: w does
	isErr bool  // the last line was of stderr
}

func (p *printer) flush() error {
	if p.to != nil {
		return p.to.Flush()
	}
	if f, ok := p.w.(http.Flusher); ok {
		f.Flush()
	}
	return nil
}

// piece prints a line, or as much of it as the buffer holds.
func (p *printer) piece(b []byte) error {
	began := p.inside
	p.inside = b[len(b)-1] != '\n'
	if !began {
		p.shown = false
		return p.line(b)
	}
	if !p.shown {
		return nil
	}
	if p.partial {
		b = bytes.TrimSuffix(b, []byte{'\n'})
	}
	return p.write(b)
}

// line prints "TIME STREAM TAG TEXT\n", or its beginning.
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
	p.shown = true
	whole := !bytes.HasPrefix(tag, []byte{'P'})
	if p.to != nil {
		if !whole {
			text = bytes.TrimSuffix(text, []byte{'\n'})
		}
		p.partial = !whole
		return p.pass(stamp, name, text)
	}
	if p.o.Origin && !p.partial {
		origin := "1 "
		if bytes.Equal(name, []byte("stderr")) {
			origin = "2 "
		}
		if err := p.write([]byte(origin)); err != nil {
			return err
		}
	}
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
	if p.to != nil {
		return p.to.Line(p.isErr, time.Time{}, b)
	}
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
