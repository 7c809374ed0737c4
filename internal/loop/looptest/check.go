package looptest

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"trireme/internal/loop"
)

// repeats is how often the same script must give the same rows. Go walks maps in
// another order each time, so a loop that depends on it is found soon.
const repeats = 5

// Check runs the script (its expected output does not matter) and holds the
// loops to what every loop promises:
//   - it comes to rest;
//   - at rest, a step of each loop that sees all keys writes nothing;
//   - so does a step of a loop that was just made: its caches say nothing that
//     the tables do not;
//   - the same rows, clock and IDs give the same rows.
func Check(t testing.TB, script string, tables []Table, loops Loops) {
	t.Helper()
	ar := txtar.Parse([]byte(script))
	first := ""
	for range repeats {
		w := New(t, tables)
		made := loops()
		r := w.Runner(made...)
		for _, f := range ar.Files {
			if w.do(f, r) {
				w.AtRest(f.Name+": step of the same loops", made)
				w.AtRest(f.Name+": step of fresh loops", loops())
			}
		}
		text := w.Text()
		if first != "" && text != first {
			t.Fatalf("the same script gave other rows (-first +now):\n%s", cmp.Diff(first, text))
		}
		first = text
	}
}

// AtRest steps each loop on all keys and wants nothing written; what says when,
// should it fail.
func (w *World) AtRest(what string, loops []loop.Reconciler) {
	w.t.Helper()
	before := w.Store.Head().Rev()
	rows := w.Text()
	for _, l := range loops {
		r := w.Runner(l)
		w.Settle(r)
		if w.Store.Head().Rev() != before {
			w.t.Fatalf("%s: %s wrote at rest:\n%s", what, l.Name(), diffText(rows, w.Text()))
		}
	}
}

func diffText(before, after string) string {
	if before == after {
		return "(a row was put that equals what was there)"
	}
	return strings.TrimSpace(cmp.Diff(before, after))
}

// CheckFile is Check of the script at path.
func CheckFile(t *testing.T, path string, tables []Table, loops Loops) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	Check(t, string(text), tables, loops)
}
