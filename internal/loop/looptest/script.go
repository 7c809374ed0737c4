package looptest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/store"
)

var update = flag.Bool("update", false, "rewrite the expected output of loop scripts")

// Loops makes the loops under test, with empty caches.
type Loops func() []loop.Reconciler

// Scripts runs every script that the glob finds as a subtest, compares what the
// loops write with what it expects, and holds the loops to Check's properties.
func Scripts(t *testing.T, glob string, tables []Table, loops Loops) {
	t.Helper()
	paths, err := filepath.Glob(glob)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts match %s (%v)", glob, err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			ar := txtar.Parse(text)
			got := run(t, ar, tables, loops)
			if *update {
				if err := os.WriteFile(path, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			compare(t, ar, got, *update)
			Check(t, string(text), tables, loops)
		})
	}
}

func compare(t *testing.T, want, got *txtar.Archive, updating bool) {
	t.Helper()
	for i, f := range want.Files {
		if g := got.Files[i].Data; !updating && !bytes.Equal(bytes.TrimSpace(g), bytes.TrimSpace(f.Data)) {
			t.Errorf("section %d, %q: got\n%s\nwant\n%s", i+1, f.Name, g, f.Data)
		}
	}
}

// run runs a script on a new World and returns it with what the loops wrote.
func run(t testing.TB, ar *txtar.Archive, tables []Table, loops Loops) *txtar.Archive {
	t.Helper()
	w := New(t, tables)
	r := w.Runner(loops()...)
	out := &txtar.Archive{Comment: ar.Comment}
	for _, f := range ar.Files {
		data := f.Data
		if w.do(f, r) {
			data = []byte(w.Diff())
		}
		out.Files = append(out.Files, txtar.File{Name: f.Name, Data: data})
	}
	return out
}

// do runs one section and reports whether it is a settle.
func (w *World) do(f txtar.File, r *loop.Runner) bool {
	w.t.Helper()
	args := strings.Fields(f.Name)
	switch args[0] {
	case "put":
		w.Put(string(f.Data))
	case "merge":
		w.Merge(string(f.Data))
	case "delete":
		for _, key := range args[2:] {
			w.Delete(store.TableID(args[1]), object.ParseKey(key))
		}
	case "advance":
		d, err := time.ParseDuration(args[1])
		w.must(err)
		w.Advance(d)
	case "settle":
		w.Settle(r)
		return true
	default:
		w.t.Fatalf("script: no command %q", f.Name)
	}
	if args[0] != "settle" {
		w.seen = w.flat()
	}
	return false
}

// Golden wants the file at path to hold got; with -update it writes it.
func Golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s is not what it should be; -update rewrites it (-want +got):\n%s", path, d)
	}
}
