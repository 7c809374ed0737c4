package store

import "testing"

func TestChunksKeepOrderAndBounds(t *testing.T) {
	var entries []Entry
	for i := range 10_000 {
		entries = append(entries, Entry{Rev: Rev(i), Value: make([]byte, 2000)})
	}
	next := Rev(0)
	for c := range chunks(entries) {
		bytes := 0
		for _, e := range c {
			if e.Rev != next {
				t.Fatalf("entry %d where %d was due", e.Rev, next)
			}
			next++
			bytes += len(e.Value)
		}
		if len(c) > chunkEntriesMax || bytes > groupBytesMax {
			t.Errorf("a chunk of %d entries, %d bytes", len(c), bytes)
		}
	}
	if next != 10_000 {
		t.Errorf("%d entries came out", next)
	}
}
