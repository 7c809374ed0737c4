package test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRollingUpdateLosesNothing: while every pod of a service is replaced, twice,
// every request is answered.
func TestRollingUpdateLosesNothing(t *testing.T) {
	k := newClient(t, machine(t))
	demo, err := os.ReadFile("../examples/demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	k.apply(strings.ReplaceAll(string(demo), "8088", "8093"))
	k.must("rollout", "status", "deployment/demo", "--timeout=60s")

	client := http.Client{Transport: &http.Transport{DialContext: k.h.Dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	ask := func() error {
		resp, err := client.Get("http://" + k.h.Address + ":8093/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	await(t, k.h, 10*time.Second, "the service answers", ask)
	stop, done := make(chan struct{}), make(chan struct{})
	var answered, failed atomic.Int64
	var last atomic.Value
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := ask(); err != nil {
				failed.Add(1)
				last.Store(err.Error())
				continue
			}
			answered.Add(1)
		}
	}()
	for _, colour := range []string{"red", "blue"} {
		k.must("set", "env", "deployment/demo", "COLOUR="+colour)
		k.must("rollout", "status", "deployment/demo", "--timeout=60s")
	}
	close(stop)
	<-done
	t.Logf("%d requests answered", answered.Load())
	if failed.Load() > 0 || answered.Load() < 50 {
		t.Errorf("%d requests answered, %d failed, the last: %v", answered.Load(), failed.Load(), last.Load())
	}
}

// TestNothingPilesUp: pods that come and go leave no link, mount, control group
// or directory on the node.
func TestNothingPilesUp(t *testing.T) {
	h := ownMachines(t, 1)[0]
	if err := bringUp(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, h: h, namespace: "default"}
	cycle := func() {
		t.Helper()
		k.apply(webPods)
		k.must("rollout", "status", "deployment/web", "--timeout=60s")
		k.must("delete", "deployment", "web", "--cascade=foreground", "--timeout=60s")
		await(t, h, 20*time.Second, "the pods are gone", func() error {
			if out := k.must("get", "pods", "-o", "name"); out != "" {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
	}
	cycle()
	before := count(t, h.Root, h.Run)
	for range 8 {
		cycle()
	}
	await(t, h, 10*time.Second, "nothing is left of pods that are gone", func() error {
		if after := count(t, h.Root, h.Run); after != before {
			return fmt.Errorf("before %+v, after %+v", before, after)
		}
		return nil
	})
}

// left is what pods may leave on a node.
type left struct{ links, mounts, podDirs, logDirs, shims int }

func count(t *testing.T, root string, run func(context.Context, string, ...string) (string, error)) left {
	t.Helper()
	links, err := run(t.Context(), "ip", "-o", "link", "show", "type", "veth")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	l := left{links: strings.Count(links, "\n"), mounts: strings.Count(string(mounts), root)}
	for glob, n := range map[string]*int{"pods/*": &l.podDirs, "logs/pods/*": &l.logDirs} {
		found, err := filepath.Glob(filepath.Join(root, glob))
		if err != nil {
			t.Fatal(err)
		}
		*n = len(found)
	}
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range cmdlines {
		if b, err := os.ReadFile(p); err == nil && strings.Contains(string(b), "shim") && strings.Contains(string(b), root) {
			l.shims++
		}
	}
	return l
}
