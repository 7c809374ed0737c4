package shim

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"

	"trireme/internal/kind"
)

func pair(t testing.TB) (a, b *wire) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	a, b = &wire{conn: c}, &wire{conn: s}
	t.Cleanup(func() { a.close(); b.close() })
	return a, b
}

func TestMessagesCarryFiles(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	large := bytes.Repeat([]byte("1"), 1<<20)
	sent := make(chan error, 1)
	go func() { sent <- a.send(&Request{Op: OpExec, ID: "c", Process: large}, w) }()
	var got Request
	if err := b.receive(&got); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	w.Close()
	files := b.take()
	if got.ID != "c" || len(got.Process) != len(large) || len(files) != 1 {
		t.Fatalf("received %q with %d bytes and %d files", got.ID, len(got.Process), len(files))
	}
	if _, err := files[0].WriteString("through"); err != nil {
		t.Fatal(err)
	}
	closeAll(files)
	buf := make([]byte, 16)
	if n, _ := r.Read(buf); string(buf[:n]) != "through" {
		t.Errorf("read %q", buf[:n])
	}
}

func TestStreams(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	stdio, err := streams("oe", []*os.File{null, null})
	if err != nil || stdio[0] != nil || stdio[1] != null || stdio[2] != null {
		t.Errorf("oe: %v, %v", stdio, err)
	}
	for _, bad := range []struct {
		names string
		files int
	}{{"o", 2}, {"oo", 2}, {"x", 1}, {"ioe", 0}} {
		files := make([]*os.File, bad.files)
		for i := range files {
			if files[i], err = os.Open(os.DevNull); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := streams(bad.names, files); !kind.Is(err, kind.Invalid) {
			t.Errorf("%d files for %q: %v, want invalid", bad.files, bad.names, err)
		}
	}
}

// FuzzReceive: whatever arrives is refused or decoded, and nothing is kept.
func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"op":"run","id":"x"}` + "\n"))
	f.Add([]byte("\n\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, w := pair(t)
		go func() {
			_, _ = a.conn.Write(b)
			a.conn.Close()
		}()
		for {
			var r Request
			if err := w.receive(&r); err != nil {
				if len(w.rest) == 0 || !bytes.Contains(w.rest, []byte{'\n'}) {
					return
				}
			}
		}
	})
}
