package etcdlog_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/etcdlog"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// crashDir tells the test binary to be the child: it writes there until it dies.
const crashDir = "TRIREME_CRASH_DIR"

// crashRounds is how often TestCrash kills the child, 10 where it is not set.
const crashRounds = "TRIREME_CRASH_ROUNDS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := writeUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// The child: each of its writers owns some keys and writes rising numbers to
// them, and deletes one now and then. What is acknowledged goes to stdout:
// "ack KEY NUMBER REVISION", with number 0 for a deletion. What is tried is said
// before as "try KEY NUMBER".
const (
	crashWriters = 8
	crashKeys    = 5 // a writer
)

func writeUntilKilled(dir string) error {
	log, err := etcdlog.New(etcdlog.Config{
		Dir: dir, Logger: slog.New(slog.DiscardHandler), CompactEvery: 50 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	ctx := context.Background()
	failed := make(chan error, 2)
	go func() { failed <- log.Run(ctx) }()
	select {
	case <-log.Ready():
	case err := <-failed:
		return err
	}
	s, err := store.Open(ctx, store.Config{Log: log.Leader(), Now: time.Now, NewID: newID}, tables.Defs()...)
	if err != nil {
		return err
	}
	go func() { failed <- s.Run(ctx) }()
	fmt.Println("ready", s.Snapshot().Rev())
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf(format+"\n", args...) // one write, no buffer
	}
	for w := range crashWriters {
		go func() { failed <- crashWriter(ctx, s, w, say) }()
	}
	return <-failed
}

func crashWriter(ctx context.Context, s *store.Store, w int, say func(string, ...any)) error {
	number := time.Now().UnixNano() // rises over restarts
	for {
		number++
		name := fmt.Sprintf("w%d-%d", w, rand.IntN(crashKeys))
		n := number
		if rand.IntN(5) == 0 {
			n = 0
		}
		say("try %s %d", name, n)
		wrote := true
		rev, err := s.Update(ctx, func(tx *store.Tx) error {
			key := object.Key{Namespace: "default", Name: name}
			if n == 0 {
				_, wrote = tables.ConfigMaps.Get(tx, key)
				tables.ConfigMaps.Delete(tx, key)
				return nil
			}
			tables.ConfigMaps.Put(tx, configMap(name, strconv.FormatInt(n, 10)))
			return nil
		})
		if err != nil {
			return err
		}
		if wrote {
			say("ack %s %d %d", name, n, rev)
		} else {
			say("ack %s 0 0", name)
		}
	}
}

// ledger is what the parent knows of one key.
type ledger struct {
	acked int64 // the last acknowledged number; 0: deleted or never written
	tried int64 // what was begun after it and not acknowledged
	open  bool  // there is such a try
}

// expected is what the parent knows of all.
type expected struct {
	keys map[string]*ledger
	revs map[store.Rev]string // acknowledged writes: "KEY NUMBER"
	last store.Rev            // the highest acknowledged revision
}

// TestCrash kills a writing process at random moments and checks after each
// restart that nothing acknowledged is lost, that nothing is there that nobody
// wrote, that revisions only rise, and that a watch goes on without gap or repeat.
func TestCrash(t *testing.T) {
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv(crashRounds)); err == nil {
		rounds = n
	}
	dir := t.TempDir()
	want := &expected{keys: map[string]*ledger{}, revs: map[store.Rev]string{}}
	mirror, watched := map[string]string{}, store.Rev(0)
	acks, resumed := 0, 0
	for round := range rounds {
		before := len(want.revs)
		runAndKill(t, dir, time.Duration(20+rand.IntN(280))*time.Millisecond, want)
		acks += len(want.revs) - before
		s, stop := member(t, dir)
		checkRows(t, s, want)
		var whole bool
		if watched, whole = follow(t, s, watched, mirror, want); whole {
			resumed++
		}
		stop()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
		clear(want.revs)
	}
	t.Logf("%d rounds, %d acknowledged writes, %d watches resumed", rounds, acks, resumed)
	if acks == 0 || resumed < rounds/2 {
		t.Error("too little was acknowledged or resumed: the test saw nothing")
	}
}

// runAndKill runs the child on dir, kills it some time after it is ready, and
// notes what it said.
func runAndKill(t *testing.T, dir string, after time.Duration, want *expected) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(pipe)
	var timer *time.Timer
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF || err != nil {
			break // a last line without its end was not said
		}
		f := strings.Fields(line)
		if f[0] == "ready" {
			if rev, _ := strconv.ParseInt(f[1], 10, 64); store.Rev(rev) < want.last {
				t.Errorf("the restarted writer stands at revision %d, before the acknowledged %d", rev, want.last)
			}
			timer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			continue
		}
		want.note(t, f)
	}
	err = cmd.Wait()
	if timer == nil || !cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		t.Fatalf("the writer ended by itself: %v\n%s", err, stderr.String())
	}
	timer.Stop()
}

func (w *expected) note(t *testing.T, f []string) {
	t.Helper()
	l := w.keys[f[1]]
	if l == nil {
		l = &ledger{}
		w.keys[f[1]] = l
	}
	n, _ := strconv.ParseInt(f[2], 10, 64)
	if f[0] == "try" {
		l.tried, l.open = n, true
		return
	}
	l.acked, l.open = n, false
	rev, _ := strconv.ParseInt(f[3], 10, 64)
	if rev == 0 {
		return // nothing was there to delete
	}
	if other, ok := w.revs[store.Rev(rev)]; ok {
		t.Errorf("revision %d was given to %q and %q", rev, other, f[1:3])
	}
	w.revs[store.Rev(rev)] = f[1] + " " + f[2]
	w.last = max(w.last, store.Rev(rev))
}

// checkRows compares the rows with what was acknowledged. A write that was begun
// and not acknowledged may be there or not; from then on it is settled.
func checkRows(t *testing.T, s *store.Store, want *expected) {
	t.Helper()
	snap := s.Snapshot()
	if snap.Rev() < want.last {
		t.Errorf("the store stands at revision %d, before the acknowledged %d", snap.Rev(), want.last)
	}
	for name, l := range want.keys {
		got := int64(0)
		if c, ok := tables.ConfigMaps.Get(snap, object.Key{Namespace: "default", Name: name}); ok {
			got, _ = strconv.ParseInt(c.Data["v"], 10, 64)
		}
		if got != l.acked && (!l.open || got != l.tried) {
			t.Errorf("%s = %d, want the acknowledged %d (tried after it: %d, %t)", name, got, l.acked, l.tried, l.open)
		}
		l.acked, l.open = got, false
	}
	for c := range tables.ConfigMaps.All(snap) {
		if want.keys[c.Name] == nil {
			t.Errorf("%s is there and nobody wrote it", c.Name)
		}
	}
}

// follow resumes a watch from where the last round's ended and plays it into
// mirror, which must then be the table. A watch that is too old starts over, as a
// watcher would. It returns where it ended, and whether nothing was dropped.
func follow(t *testing.T, s *store.Store, from store.Rev, mirror map[string]string, want *expected) (at store.Rev, resumed bool) {
	t.Helper()
	snap := s.Snapshot()
	last := tables.ConfigMaps.Rev(snap)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	resumed = true
	for from < last {
		for e, err := range s.Events(ctx, from, tables.ConfigMaps) {
			if err != nil {
				resumed = false
				break
			}
			if e.Rev <= from {
				t.Errorf("event %d came after %d", e.Rev, from)
			}
			from = e.Rev
			play(t, e, mirror, want)
			if from >= last {
				break
			}
		}
		if !resumed {
			break
		}
	}
	rows := map[string]string{}
	for c := range tables.ConfigMaps.All(snap) {
		rows[c.Name] = c.Data["v"]
	}
	if resumed && len(rows) != len(mirror) {
		t.Errorf("the watch leads to %d rows, there are %d", len(mirror), len(rows))
	}
	for name, v := range rows {
		if resumed && mirror[name] != v {
			t.Errorf("the watch leads to %s = %q, the row is %q", name, mirror[name], v)
		}
	}
	if resumed && len(want.revs) > 0 {
		t.Errorf("the watch misses acknowledged writes: %v", want.revs)
	}
	clear(mirror)
	maps.Copy(mirror, rows)
	return snap.Rev(), resumed
}

func play(t *testing.T, e *store.Event, mirror map[string]string, want *expected) {
	t.Helper()
	name, got := e.Key().Name, "0"
	_, had := mirror[name]
	if (e.Type() == store.Created) == had {
		t.Errorf("revision %d: event type %d of %s, which was there: %t", e.Rev, e.Type(), name, had)
	}
	if e.Type() == store.Deleted {
		delete(mirror, name)
	} else {
		got = e.Object().(*corev1.ConfigMap).Data["v"]
		mirror[name] = got
	}
	if said, ok := want.revs[e.Rev]; ok && said != name+" "+got {
		t.Errorf("revision %d was acknowledged as %q and is %q now", e.Rev, said, name+" "+got)
	}
	delete(want.revs, e.Rev)
}
