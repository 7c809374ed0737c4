package rules

import (
	"go/ast"
	"strings"
	"testing"
)

// pure are the folders whose code decides: no clock, no I/O, no chance.
var pure = []string{
	"internal/kind", "internal/object", "internal/store", "internal/tables", "internal/policy", "internal/tell",
	"internal/rollout", "internal/orchestrate", "internal/allocate", "internal/schedule",
	"internal/access",
}

func TestPurePackagesDoNothingImpure(t *testing.T) {
	for _, s := range tree(t) {
		if s.test || s.gen || !within(s.dir, pure...) {
			continue
		}
		for _, imp := range s.imports() {
			switch imp {
			case "os", "net", "net/http", "math/rand", "math/rand/v2", "log", "os/exec":
				t.Errorf("%s: a pure package imports %s", s.path, imp)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if name := selector(n); name == "time.Now" || name == "time.Sleep" || name == "time.After" || name == "time.Since" || name == "metav1.Now" {
				t.Errorf("%s: a pure package calls %s", at(n), name)
			}
			return true
		})
	}
}

// mayGo are the folders that may start goroutines: the thin, impure edges.
var mayGo = []string{
	"internal/loop", "internal/server", "internal/agent", "internal/wire", "internal/etcdlog", "internal/dataplane",
	"internal/api", "internal/runtime/cri", "internal/runtime/native", "internal/runtime/overlay", "internal/runtime/shim", "internal/sim", "internal/cli", "internal/dispatch", "internal/bench",
	"tools", "images", "cmd", "hack", "test", "examples",
}

func TestGoStatements(t *testing.T) {
	for _, s := range tree(t) {
		if s.test || s.gen || within(s.dir, mayGo...) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: a go statement outside the folders that own goroutines", at(g))
			}
			return true
		})
	}
}

func TestTestsDoNotSleep(t *testing.T) {
	for _, s := range tree(t) {
		if !s.test {
			continue
		}
		bubble := false
		for _, imp := range s.imports() {
			bubble = bubble || imp == "testing/synctest"
		}
		if bubble {
			continue // time is the bubble's there
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if selector(n) == "time.Sleep" {
				t.Errorf("%s: a test sleeps: wait for the event instead", at(n))
			}
			return true
		})
	}
}

func TestNoInitNoGlobalLogger(t *testing.T) {
	for _, s := range tree(t) {
		if s.test || s.gen {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init function", at(f))
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch name := selector(n); {
			case strings.HasPrefix(name, "slog.Info"), strings.HasPrefix(name, "slog.Error"),
				strings.HasPrefix(name, "slog.Warn"), strings.HasPrefix(name, "slog.Debug"), name == "slog.Default":
				t.Errorf("%s: %s: loggers are passed in", at(n), name)
			}
			return true
		})
	}
}

func selector(n ast.Node) string {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return id.Name + "." + sel.Sel.Name
}
