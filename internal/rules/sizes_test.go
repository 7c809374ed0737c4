package rules

import (
	"go/ast"
	"testing"
)

const (
	fileLinesMax     = 600
	testLinesMax     = 1200
	functionLinesMax = 70
	packageLinesMax  = 4000
	parametersMax    = 5
)

// longFunctions are exempt from functionLinesMax, with the reason.
var longFunctions = map[string]string{}

// manyParameters are exempt from parametersMax, with the reason.
var manyParameters = map[string]string{
	"internal/api/kube.decorate":              "generic.StorageDecorator of k8s.io/apiserver",
	"internal/api/kube/extend.decorate":       "generic.StorageDecorator of k8s.io/apiserver",
	"internal/api/kube.Update":                "rest.Updater of k8s.io/apiserver",
	"internal/api/kube/view.GuaranteedUpdate": "storage.Interface of k8s.io/apiserver",
	"internal/runtime/native.Exec":            "streaming.Runtime of k8s.io/cri-streaming",
	"internal/runtime/native.Attach":          "streaming.Runtime of k8s.io/cri-streaming",
	"internal/api/kube/view.Delete":           "storage.Interface of k8s.io/apiserver",
}

func TestSizes(t *testing.T) {
	packages := map[string]int{}
	for _, s := range tree(t) {
		if s.gen {
			continue
		}
		limit := fileLinesMax
		if s.test {
			limit = testLinesMax
		} else {
			packages[s.dir] += s.lines
		}
		if s.lines > limit {
			t.Errorf("%s: %d lines, limit %d", s.path, s.lines, limit)
		}
		if !s.test {
			checkFunctions(t, s)
		}
	}
	for dir, lines := range packages {
		if lines > packageLinesMax {
			t.Errorf("%s: a package of %d lines, limit %d", dir, lines, packageLinesMax)
		}
	}
}

func checkFunctions(t *testing.T, s source) {
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		name := s.dir + "." + f.Name.Name
		lines := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1
		if lines > functionLinesMax && longFunctions[name] == "" {
			t.Errorf("%s: %s has %d lines, limit %d", at(f), f.Name.Name, lines, functionLinesMax)
		}
		if n := f.Type.Params.NumFields(); n > parametersMax && manyParameters[name] == "" {
			t.Errorf("%s: %s takes %d parameters, limit %d: use a struct", at(f), f.Name.Name, n, parametersMax)
		}
	}
}
