package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"trireme/internal/access"
	"trireme/internal/api/docker/bare"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// running serves a door over a store until the test ends, for one who may do everything.
func running(t *testing.T) (*store.Store, string) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	owner := Caller{User: access.User{Name: "root", Groups: []string{access.Masters}}, Client: &rest.Config{Host: "https://door", Transport: forbids{}}}
	d, err := New(s, Config{Listener: l, Owner: owner, Node: "n", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, stored := make(chan error, 1), make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	go func() { stored <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-stored
	})
	return s, path
}

// follow opens a stream of events; the first line is read when there is one.
func follow(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /v1.45/events HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestManyFollowEvents: what happens to pods reaches a thousand followers, each event of
// each pod once and in order; when they have gone nothing of them is left.
func TestManyFollowEvents(t *testing.T) {
	const followers, pods = 1000, 10
	s, path := running(t)
	before := runtime.NumGoroutine()
	type got struct {
		lines []string
		err   error
	}
	joined, all := make(chan struct{}, followers), make(chan got, followers)
	conns := make([]net.Conn, followers)
	for i := range conns {
		conns[i] = follow(t, path)
		go func() {
			in := bufio.NewReader(conns[i])
			for {
				line, err := in.ReadString('\n')
				if err != nil || line == "\r\n" {
					joined <- struct{}{}
					break
				}
			}
			var g got
			for len(g.lines) < 4*pods && g.err == nil {
				var m events.Message
				line, err := in.ReadString('\n')
				if g.err = err; err == nil {
					g.err = json.Unmarshal([]byte(line), &m)
				}
				g.lines = append(g.lines, m.Actor.Attributes["name"]+" "+string(m.Action))
			}
			all <- g
		}()
	}
	for range followers {
		<-joined
	}
	began := time.Now()
	var want []string
	for i := range pods {
		want = append(want, live(t, s, fmt.Sprint("p", i))...)
	}
	for range followers {
		g := <-all
		if got := strings.Join(g.lines, "\n"); g.err != nil || got != strings.Join(want, "\n") {
			t.Fatalf("a follower: %v:\n%s\nwant\n%s", g.err, got, strings.Join(want, "\n"))
		}
	}
	t.Logf("%d followers had %d events each after %s", followers, len(want), time.Since(began))
	for _, c := range conns {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	settles(t, before)
}

// settles waits until there are about as many goroutines as before.
func settles(t *testing.T, before int) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(50 * time.Millisecond); runtime.NumGoroutine() > before+10; <-tick.C {
		if time.Now().After(end) {
			b := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, b[:runtime.Stack(b, true)])
		}
	}
}

// TestAttachClosedAnywhere: a client that goes away at any byte of attaching to a container
// leaves nothing behind.
func TestAttachClosedAnywhere(t *testing.T) {
	s, path := running(t)
	req := &container.CreateRequest{Config: &container.Config{Image: "app", OpenStdin: true}}
	p, err := bare.Container{ID: strings.Repeat("ab", 32), Name: "box", CreateRequest: req}.Pod()
	if err != nil {
		t.Fatal(err)
	}
	p.UID = types.UID(uuid.NewString())
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		tables.Pods.Put(tx, p)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	const request = "POST /v1.45/containers/box/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\ntyped"
	for cut := range len(request) + 50 { // and many that have heard that they are attached
		cut, heard := min(cut, len(request)), cut > len(request)
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request[:cut]); err != nil {
			t.Fatal(err)
		}
		if heard {
			if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(line, "101") {
				t.Errorf("attaching: %q, %v", line, err)
			}
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	settles(t, before)
}

// live is the life of a pod, and what is told of it.
func live(t *testing.T, s *store.Store, name string) (told []string) {
	t.Helper()
	key := object.Key{Namespace: "default", Name: name}
	step := func(action string, f func(tx *store.Tx)) {
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
			f(tx)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		told = append(told, "k8s_c_"+name+"_default "+action)
	}
	phase := func(phase corev1.PodPhase) func(*store.Tx) {
		return func(tx *store.Tx) {
			p, _ := tables.Pods.Get(tx, key)
			next := p.DeepCopy()
			next.Status.Phase = phase
			tables.Pods.Put(tx, next)
		}
	}
	step("create", func(tx *store.Tx) {
		tables.Pods.Put(tx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uuid.NewString())},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "app"}}}, Status: corev1.PodStatus{Phase: corev1.PodPending},
		})
	})
	step("start", phase(corev1.PodRunning))
	step("die", phase(corev1.PodFailed))
	step("destroy", func(tx *store.Tx) { tables.Pods.Delete(tx, key) })
	return told
}
