package execs

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/container"

	"trireme/internal/api/docker/view"
	"trireme/internal/kind"
)

func exec(id string) *Exec {
	return &Exec{ID: id, In: &view.Container{ID: "c"}, Want: container.ExecCreateRequest{Cmd: []string{"true"}}}
}

// The store is bounded: what has ended is forgotten in time, what runs never is.
func TestStoreForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{}
		for i := range keptMax {
			if err := s.Add(exec(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Add(exec("more")); !kind.Is(err, kind.Unavailable) {
			t.Errorf("one more than the bound: %v", err)
		}
		running, err := s.Find("7")
		if err != nil || !running.Begin() || running.Begin() {
			t.Errorf("it is started once: %v", err)
		}
		time.Sleep(kept + time.Second)
		if err := s.Add(exec("more")); err != nil {
			t.Error(err)
		}
		if _, err := s.Find("8"); !kind.Is(err, kind.NotFound) {
			t.Errorf("what was never started: %v", err)
		}
		if ids := s.Of("c"); len(ids) != 1 || ids[0] != "7" {
			t.Errorf("running: %v", ids)
		}
		running.Finish(3)
		if got := running.Inspect(); got.Running || *got.ExitCode != 3 {
			t.Errorf("ended: %+v", got)
		}
	})
}
