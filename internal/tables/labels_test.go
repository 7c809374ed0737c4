package tables

import (
	"fmt"
	"maps"
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestAlikeLabels: equal labels are one set while somebody holds it, unequal ones never
// are, and what nobody holds is forgotten.
func TestAlikeLabels(t *testing.T) {
	a := alikeLabels(map[string]string{"app": "web", "tier": "front"})
	if b := alikeLabels(map[string]string{"tier": "front", "app": "web"}); a != b {
		t.Error("equal labels are two sets")
	}
	for _, other := range []map[string]string{{"app": "web"}, {"app": "web\"\"tier", "front": ""}, {"app": "webtier", "": "front"}, nil} {
		if b := alikeLabels(other); a == b || !maps.Equal(b.labels, other) {
			t.Errorf("%v became %v", other, b.labels)
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 1000 {
				want := map[string]string{"n": fmt.Sprint(j % 10), "i": fmt.Sprint(i % 2)}
				if s := alikeLabels(want); !maps.Equal(s.labels, want) {
					t.Errorf("%v became %v", want, s.labels)
				}
			}
		})
	}
	wg.Wait()
	left := func() int {
		labelSets.RLock()
		defer labelSets.RUnlock()
		return len(labelSets.byText)
	}
	for deadline := time.Now().Add(10 * time.Second); left() > 1 && time.Now().Before(deadline); {
		runtime.GC() // cleanups run some time after it
	}
	if n := left(); n != 1 {
		t.Errorf("%d sets are remembered, one is held", n)
	}
	runtime.KeepAlive(a)
}
