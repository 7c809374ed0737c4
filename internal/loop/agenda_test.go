package loop_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"trireme/internal/loop"
	"trireme/internal/object"
)

func TestAgenda(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	a, b, c := object.Key{Name: "a"}, object.Key{Name: "b"}, object.Key{Name: "c"}
	var g loop.Agenda
	if g.Due(now) != nil || !g.Next().IsZero() {
		t.Error("an empty agenda has something")
	}
	g.Mark(c)
	g.At(b, now.Add(time.Second))
	g.At(a, now.Add(2*time.Second))
	if got := g.Due(now); !cmp.Equal(got, []object.Key{c}) || !g.Next().Equal(now.Add(time.Second)) {
		t.Errorf("due %v, next %v", got, g.Next())
	}
	if got := g.Due(now.Add(time.Second)); !cmp.Equal(got, []object.Key{b, c}) {
		t.Errorf("a second later: due %v", got)
	}
	g.Take(b)
	g.Take(c)
	if got := g.Due(now.Add(time.Second)); got != nil || !g.Next().Equal(now.Add(2*time.Second)) {
		t.Errorf("taken: due %v, next %v", got, g.Next())
	}
	g.At(a, time.Time{})
	if !g.Next().IsZero() {
		t.Error("a key without a time has one")
	}
}
