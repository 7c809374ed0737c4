package rules

import (
	"go/ast"
	"go/token"
	"testing"
)

func TestPackagesHaveOneDoc(t *testing.T) {
	docs, files := map[string]int{}, map[string]string{}
	for _, s := range tree(t) {
		if s.test {
			continue
		}
		files[s.dir] = s.path
		if s.file.Doc != nil && len(s.file.Doc.Text()) > 20 {
			docs[s.dir]++
		}
	}
	for dir, path := range files {
		if docs[dir] != 1 {
			t.Errorf("%s: the package of %s has %d package comments, want exactly one", dir, path, docs[dir])
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, s := range tree(t) {
		if s.test || s.gen {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && receiverExported(d) && !obvious[d.Name.Name] {
					t.Errorf("%s: %s has no doc comment", at(d), d.Name.Name)
				}
			case *ast.GenDecl:
				checkSpecs(t, d)
			}
		}
	}
}

// obvious are methods whose meaning the interface they satisfy gives.
var obvious = map[string]bool{
	"Error": true, "Unwrap": true, "String": true, "Name": true, "Reads": true, "Writes": true, "Reconcile": true,
}

func checkSpecs(t *testing.T, d *ast.GenDecl) {
	if d.Tok == token.IMPORT || d.Doc != nil {
		return
	}
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && spec.Doc == nil && spec.Comment == nil {
				t.Errorf("%s: type %s has no doc comment", at(spec), spec.Name.Name)
			}
		case *ast.ValueSpec:
			for _, n := range spec.Names {
				if n.IsExported() && spec.Doc == nil && spec.Comment == nil {
					t.Errorf("%s: %s has no doc comment", at(spec), n.Name)
				}
			}
		}
	}
}

func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return false
		}
	}
}
