package etcdlog_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trireme/internal/etcdlog"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestDamagedData checks that a folder that is damaged or half there is an error
// that names it: not a panic, not an empty store.
func TestDamagedData(t *testing.T) {
	overwrite := func(pattern string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			files, err := filepath.Glob(filepath.Join(dir, "member", "member", pattern))
			if err != nil || len(files) == 0 {
				t.Fatalf("no file %s: %v", pattern, err)
			}
			for _, f := range files {
				if err := os.WriteFile(f, []byte(strings.Repeat("not what was here. ", 2000)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.RemoveAll(filepath.Join(dir, "member", "member", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, damage := range map[string]func(*testing.T, string){
		"database overwritten": overwrite("snap/db"),
		"log overwritten":      overwrite("wal/*.wal"),
		"database removed":     remove("snap/db"),
		"log removed":          remove("wal"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, stop := member(t, dir)
			for _, v := range []string{"1", "2", "3"} {
				if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
					tables.ConfigMaps.Put(tx, configMap("c-"+v, v))
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			stop()
			damage(t, dir)
			log, err := etcdlog.New(etcdlog.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- log.Run(ctx) }()
			select {
			case err := <-done:
				if !strings.Contains(err.Error(), dir) || ctx.Err() != nil {
					t.Errorf("Run = %v; want an error that names %s", err, dir)
				}
				t.Log(err)
			case <-log.Ready():
				c, err := log.Leader().Load(ctx)
				cancel()
				<-done
				if err == nil && len(c.Rows) != 3 {
					t.Errorf("the damaged log opens with %d rows", len(c.Rows))
				}
			}
		})
	}
}
