package stream

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const sample = `2026-01-01T00:00:00.000000001Z stdout F one
2026-01-01T00:00:01.000000001Z stderr F two
2026-01-01T00:00:02.000000001Z stdout P thr
2026-01-01T00:00:02.000000002Z stdout F ee
torn
2026-01-01T00:00:03.000000001Z stdout F four
`

func logFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadLog(t *testing.T) {
	path := logFile(t, sample)
	for name, tt := range map[string]struct {
		o    LogOptions
		want string
	}{
		"all":        {LogOptions{TailLines: -1}, "one\ntwo\nthree\nfour\n"},
		"tail 1":     {LogOptions{TailLines: 1}, "four\n"},
		"tail 0":     {LogOptions{}, ""},
		"tail more":  {LogOptions{TailLines: 99}, "one\ntwo\nthree\nfour\n"},
		"stderr":     {LogOptions{TailLines: -1, Stream: "Stderr"}, "two\n"},
		"limit":      {LogOptions{TailLines: -1, LimitBytes: 6}, "one\ntw"},
		"since":      {LogOptions{TailLines: -1, Since: time.Date(2026, 1, 1, 0, 0, 3, 0, time.UTC)}, "four\n"},
		"origin":     {LogOptions{TailLines: -1, Origin: true}, "1 one\n2 two\n1 three\n1 four\n"},
		"of 2":       {LogOptions{TailLines: 3, Origin: true, Timestamps: true, Stream: "Stderr"}, ""},
		"timestamps": {LogOptions{TailLines: 1, Timestamps: true}, "2026-01-01T00:00:03.000000001Z four\n"},
	} {
		var b bytes.Buffer
		if err := new(logFiles).read(t.Context(), path, tt.o, nil, &b); err != nil {
			t.Fatal(err)
		}
		if b.String() != tt.want {
			t.Errorf("%s: got %q, want %q", name, b.String(), tt.want)
		}
	}
}

// signalled tells when a text has been written to it.
type signalled struct {
	b    bytes.Buffer
	want string
	seen chan struct{}
}

func (s *signalled) Write(p []byte) (int, error) {
	n, err := s.b.Write(p)
	if s.want != "" && strings.Contains(s.b.String(), s.want) {
		s.want = ""
		s.seen <- struct{}{}
	}
	return n, err
}

func TestFollowGoesThroughRotationAndEnds(t *testing.T) {
	path := logFile(t, "2026-01-01T00:00:00Z stdout F one\n")
	var on atomic.Bool
	on.Store(true)
	out := &signalled{want: "one", seen: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		done <- new(logFiles).read(t.Context(), path, LogOptions{Follow: true, TailLines: -1}, on.Load, out)
	}()
	<-out.seen
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("2026-01-01T00:00:01Z stdout F two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	on.Store(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if out.b.String() != "one\ntwo\n" {
		t.Errorf("got %q", out.b.String())
	}
}

func TestFollowEndsWithItsReader(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &signalled{want: "one", seen: make(chan struct{}, 1)}
	done := make(chan error, 1)
	path := logFile(t, "2026-01-01T00:00:00Z stdout F one\n")
	go func() {
		done <- new(logFiles).read(ctx, path, LogOptions{Follow: true, TailLines: -1}, func() bool { return true }, out)
	}()
	<-out.seen
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestManyFollow: one log, then many, followed by more clients than a user has inotify
// instances, or than descriptors could be watched one by one.
func TestManyFollow(t *testing.T) {
	const followers, logs = 2000, 20
	var paths []string
	for range logs {
		paths = append(paths, logFile(t, "2026-01-01T00:00:00Z stdout F one\n"))
	}
	var on atomic.Bool
	on.Store(true)
	var r logFiles
	outs, done := make([]*signalled, followers), make(chan error, followers)
	for i := range outs {
		outs[i] = &signalled{want: "one", seen: make(chan struct{}, 1)}
		go func() {
			done <- r.read(t.Context(), paths[i%logs], LogOptions{Follow: true, TailLines: -1}, on.Load, outs[i])
		}()
	}
	for _, o := range outs {
		<-o.seen
	}
	if len(r.watches.folders) != logs {
		t.Errorf("%d folders are watched", len(r.watches.folders))
	}
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("2026-01-01T00:00:01Z stdout F two\n"); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	on.Store(false)
	for range outs {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for i, o := range outs {
		if o.b.String() != "one\ntwo\n" {
			t.Fatalf("follower %d read %q", i, o.b.String())
		}
	}
	if r.watches.inotify != nil || len(r.watches.folders) != 0 {
		t.Error("something is watched for nobody")
	}
}

// TestLongLines: lines without end, of runtimes that do not cut them, are read piece by
// piece.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 3*bufferBytes)
	for name, tt := range map[string]struct{ have, want string }{
		"a line":      {"2026-01-01T00:00:00Z stdout F " + long + "\n2026-01-01T00:00:00Z stdout F two\n", long + "\ntwo\n"},
		"a part":      {"2026-01-01T00:00:00Z stdout P " + long + "\n2026-01-01T00:00:00Z stdout F two\n", long + "two\n"},
		"another's":   {"2026-01-01T00:00:00Z stderr F " + long + "\n2026-01-01T00:00:00Z stdout F two\n", "two\n"},
		"no line":     {long + "\n2026-01-01T00:00:00Z stdout F two\n", "two\n"},
		"no end":      {"2026-01-01T00:00:00Z stdout F " + long, long},
		"to the byte": {"2026-01-01T00:00:00Z stdout F " + strings.Repeat("x", bufferBytes-31) + "\n", strings.Repeat("x", bufferBytes-31) + "\n"},
	} {
		for _, follow := range []bool{false, true} {
			var b bytes.Buffer
			o := LogOptions{TailLines: -1, Stream: "Stdout", Follow: follow}
			if err := new(logFiles).read(t.Context(), logFile(t, tt.have), o, func() bool { return false }, &b); err != nil {
				t.Fatal(err)
			}
			if b.String() != tt.want {
				t.Errorf("%s, followed %v: %d bytes, want %d", name, follow, b.Len(), len(tt.want))
			}
		}
	}
}

// TestFollowersShareFiles: however many follow a log, it is open once, each of its files
// until the last has read it.
func TestFollowersShareFiles(t *testing.T) {
	path := logFile(t, "2026-01-01T00:00:00Z stdout F one\n")
	var r logFiles
	var on atomic.Bool
	on.Store(true)
	before := openFiles(t)
	const followers = 50
	done := make(chan error, followers)
	for range followers {
		out := &signalled{want: "one", seen: make(chan struct{}, 1)}
		go func() { done <- r.read(t.Context(), path, LogOptions{Follow: true, TailLines: -1}, on.Load, out) }()
		<-out.seen
	}
	if n := openFiles(t) - before; n > 6 { // the file, and what inotify and its poller take
		t.Errorf("%d files are open", n)
	}
	on.Store(false)
	for range followers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if len(r.tails) != 0 {
		t.Error("something is kept for nobody")
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestFollowsWhatBegins: a log without a file is read from its beginning once it has one.
func TestFollowsWhatBegins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	var on atomic.Bool
	on.Store(true)
	out := &signalled{want: "two", seen: make(chan struct{}, 1)}
	done, looked := make(chan error, 1), make(chan struct{}, 100)
	go func() {
		done <- new(logFiles).read(t.Context(), path, LogOptions{Follow: true, TailLines: 1}, func() bool {
			select {
			case looked <- struct{}{}:
			default:
			}
			return on.Load()
		}, out)
	}()
	<-looked
	<-looked // by then it waits
	if err := os.WriteFile(path, []byte("2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stdout F two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	<-out.seen
	on.Store(false)
	if err := <-done; err != nil || out.b.String() != "one\ntwo\n" {
		t.Errorf("%q, %v", out.b.String(), err)
	}
}

func TestLogOptionsRefuseNonsense(t *testing.T) {
	for _, q := range []string{"tailLines=-1", "tailLines=x", "limitBytes=-5", "sinceTime=yesterday", "stream=Both"} {
		v, err := url.ParseQuery(q)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := logOptions(v, time.Now()); err == nil {
			t.Errorf("%s was taken", q)
		}
	}
}

func TestRotateKeepsFive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	for range 8 {
		if err := os.WriteFile(path, make([]byte, logBytesMax), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Rotate(path, func() error { return os.WriteFile(path, nil, 0o600) }); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != logFilesMax {
		t.Errorf("%d files, %v", len(files), err)
	}
	if err := os.WriteFile(path, make([]byte, logBytesMax), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Rotate(path, func() error { return errors.New("no") }); err == nil {
		t.Error("no error")
	}
	if st, err := os.Stat(path); err != nil || st.Size() != logBytesMax {
		t.Error("the log is not back after the runtime refused")
	}
}
