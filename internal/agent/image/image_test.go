package image

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/runtime"
)

func manager(fake *runtime.Fake, inUse map[string]bool) *Manager {
	return New(Config{Runtime: fake, InUse: func() map[string]bool { return inUse }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

func TestOnePullHoweverManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := runtime.NewFake(runtime.FakeConfig{PullDelay: time.Minute})
		m := manager(fake, nil)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if img, err := m.Ensure(t.Context(), Request{Ref: "web:1", Policy: corev1.PullIfNotPresent}); err != nil || img.ID == "" {
					t.Errorf("%v %v", img, err)
				}
			})
		}
		wg.Wait()
		if n := fake.Calls("Pull"); n != 1 {
			t.Errorf("%d pulls", n)
		}
	})
}

// TestPullsMax: no more images are pulled at a time than the node wants, and one pull
// serves all that wait for it.
func TestPullsMax(t *testing.T) {
	for limit, want := range map[int]time.Duration{0: time.Minute, 1: 6 * time.Minute, 4: 2 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			fake := runtime.NewFake(runtime.FakeConfig{PullDelay: time.Minute})
			m := New(Config{Runtime: fake, PullsMax: limit, Log: slog.New(slog.DiscardHandler)})
			began := time.Now()
			var wg sync.WaitGroup
			for i := range 18 {
				wg.Go(func() {
					if _, err := m.Ensure(t.Context(), Request{Ref: fmt.Sprintf("web:%d", i%6), Policy: corev1.PullIfNotPresent}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(began); took != want || fake.Calls("Pull") != 6 {
				t.Errorf("at most %d at a time: %d pulls took %s, want 6 in %s", limit, fake.Calls("Pull"), took, want)
			}
		})
	}
}

// TestPullsMaxLeaves: who goes away while it waits for room takes none.
func TestPullsMaxLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := runtime.NewFake(runtime.FakeConfig{PullDelay: time.Minute})
		m := New(Config{Runtime: fake, PullsMax: 1, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := m.Ensure(t.Context(), Request{Ref: "a:1"}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := m.Ensure(ctx, Request{Ref: "b:1"}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the one that left: %v", err)
			}
		})
		wg.Wait()
		if _, err := m.Ensure(t.Context(), Request{Ref: "b:1"}); err != nil {
			t.Errorf("the next of that image: %v", err)
		}
	})
}

// TestProvide: who provides credentials is asked when the image is pulled and not
// before, once for all that wait; why it had none is told where the pull fails.
func TestProvide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := runtime.NewFake(runtime.FakeConfig{Images: []string{"here:1"}, Missing: []string{"absent:1"}, PullDelay: time.Second})
		m := manager(fake, nil)
		var mu sync.Mutex
		asked := 0
		provide := func(context.Context) ([]runtime.Credentials, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			return nil, errors.New("the vault is shut")
		}
		var wg sync.WaitGroup
		for range 9 {
			for _, ref := range []string{"here:1", "web:1"} {
				wg.Go(func() {
					if _, err := m.Ensure(t.Context(), Request{Ref: ref, Policy: corev1.PullIfNotPresent, Provide: provide}); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		for range 3 { // the second and third are put off
			_, err := m.Ensure(t.Context(), Request{Ref: "absent:1", Provide: provide})
			if err == nil || !strings.Contains(err.Error(), "the vault is shut") {
				t.Errorf("a pull that fails: %v", err)
			}
		}
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
	})
}

func TestWaiterTakesOverFromOneThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := runtime.NewFake(runtime.FakeConfig{PullDelay: time.Minute})
		m := manager(fake, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := m.Ensure(ctx, Request{Ref: "web:1", Policy: corev1.PullIfNotPresent}); !errors.Is(err, context.Canceled) {
				t.Errorf("the one that left: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := m.Ensure(t.Context(), Request{Ref: "web:1", Policy: corev1.PullIfNotPresent}); err != nil {
				t.Errorf("the one that stayed: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
	})
}

func TestPolicyDefaults(t *testing.T) {
	for ref, want := range map[string]corev1.PullPolicy{
		"web": corev1.PullAlways, "web:latest": corev1.PullAlways, "web:1": corev1.PullIfNotPresent, "reg:5000/web": corev1.PullAlways,
		"reg:5000/web:1": corev1.PullIfNotPresent, "web@sha256:abc": corev1.PullIfNotPresent,
	} {
		if got := policyOf(Request{Ref: ref}); got != want {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
}

func TestCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refs := []string{"a:1", "b:1", "c:1", "d:1"} // 10 MiB each
		fake := runtime.NewFake(runtime.FakeConfig{Images: refs, CapacityBytes: 51 << 20})
		if _, err := fake.Import(t.Context(), strings.NewReader("from-a-file:1")); err != nil {
			t.Fatal(err)
		}
		inUse := map[string]bool{}
		m := manager(fake, inUse)
		id := func(ref string) string {
			img, err := fake.Image(t.Context(), ref)
			if err != nil {
				return ""
			}
			return img.ID
		}
		inUse[id("a:1")] = true
		if freed, err := m.Collect(t.Context()); err == nil || freed != 0 {
			t.Errorf("all are new: freed %d, %v", freed, err)
		}
		time.Sleep(time.Minute)
		for _, ref := range []string{"b:1", "d:1"} { // used since
			if _, err := m.Ensure(t.Context(), Request{Ref: ref, Policy: corev1.PullNever}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Minute)
		if freed, err := m.Collect(t.Context()); err != nil || freed != 10<<20 {
			t.Errorf("freed %d, %v", freed, err)
		}
		if id("c:1") != "" || id("a:1") == "" || id("b:1") == "" || id("d:1") == "" {
			t.Error("not the least recently used one went")
		}
		if id("from-a-file:1") == "" {
			t.Error("an image that cannot be had again went")
		}
		if err := m.Remove(t.Context(), "a:1"); !kind.Is(err, kind.Conflict) {
			t.Errorf("removing what is in use: %v", err)
		}
	})
}

func TestCredentials(t *testing.T) {
	secret := func(name, text string) *corev1.Secret {
		s := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(text)}}
		s.Name = name
		return s
	}
	pair := base64.StdEncoding.EncodeToString([]byte("me:pa:ss"))
	all := []*corev1.Secret{
		secret("hub", `{"auths":{"https://index.docker.io/v1/":{"auth":"`+pair+`"}}}`),
		secret("own", `{"auths":{"*.example.com":{"username":"wild"},"reg.example.com/team":{"username":"team"}}}`),
	}
	for ref, want := range map[string]string{
		"web:1": "me", "docker.io/library/web": "me", "reg.example.com/team/web:1": "team", "reg.example.com/teamster/web": "wild",
		"other.example.com/x": "wild", "example.com/x": "", "a.b.example.com/x": "",
	} {
		got, err := Credentials(ref, all)
		user := ""
		if len(got) > 0 {
			user = got[0].Username
		}
		if err != nil || user != want {
			t.Errorf("%s: %q, want %q (%v)", ref, user, want, err)
		}
		if user == "me" && got[0].Password != "pa:ss" {
			t.Errorf("password %q", got[0].Password)
		}
	}
	if _, err := Credentials("web", []*corev1.Secret{secret("bad", "{")}); err == nil {
		t.Error("a broken secret is no error")
	}
}
