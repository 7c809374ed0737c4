package etcdlog

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	"trireme/internal/store"
)

// TestShed: after large commits raft is made to forget them, and neither the revision nor
// the writer's term takes notice.
func TestShed(t *testing.T) {
	log, err := New(Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), UnsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- log.Run(t.Context()) }()
	select {
	case <-log.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	leader := log.Leader()
	contents, err := leader.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rev := contents.Rev
	put := func(n int) {
		rev++
		value := bytes.Repeat([]byte{byte(n)}, 1<<20)
		if err := leader.Append(t.Context(), []store.Entry{{Key: fmt.Sprintf("/registry/configmaps/n/%d", n%4), Value: value, Rev: rev}}); err != nil {
			t.Fatal(err)
		}
	}
	const large = 40
	for n := range large {
		put(n)
	}
	if given := log.given.Load(); given < large<<20 {
		t.Errorf("%d bytes were counted of %d MiB", given, large)
	}
	held := heap()
	before := log.server.KV().Rev()
	var s shedding
	s.look(t.Context(), log) // it sees writes
	if log.given.Load() == 0 {
		t.Error("it shed at the first look")
	}
	s.look(t.Context(), log)
	if log.given.Load() != 0 {
		t.Error("it did not shed when all was quiet")
	}
	if now := log.server.KV().Rev(); now != before {
		t.Errorf("revision %d, it was %d", now, before)
	}
	if now := heap(); held-now < large<<20/2 {
		t.Errorf("%d MiB are held, %d were", now>>20, held>>20)
	}
	put(0)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
