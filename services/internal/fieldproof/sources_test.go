package fieldproof

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// walkSources calls visit for each file that is built into the product, with its path below root.
func walkSources(t *testing.T, root string, visit func(path string, set *token.FileSet, file *ast.File)) {
	t.Helper()
	files := 0
	for _, part := range []string{"proto", "chartcache", "operator", "services"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, part), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			path, err = filepath.Rel(root, path)
			if err != nil {
				return err
			}
			switch path {
			case "services/bench", "services/e2e", "services/internal/indexcheck": // measure, test and compare; none is shipped
				return fs.SkipDir
			}
			if entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			files++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(root, path), nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			visit(path, set, file)
			return nil
		}))
	}
	assert.Greater(t, files, 200, "the product is there")
}

// comparesText are the functions that tell texts apart.
var comparesText = map[string]bool{
	"strings.Contains": true, "strings.HasPrefix": true, "strings.HasSuffix": true, "strings.EqualFold": true, "strings.Index": true,
	"strings.Count": true, "strings.Compare": true, "regexp.MatchString": true,
}

// asksForText reports whether an expression is the text of an error, however it is dressed.
func asksForText(expression ast.Expr) bool {
	found := false
	ast.Inspect(expression, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		found = found || ok && method.Sel.Name == "Error" && len(call.Args) == 0
		return !found
	})
	return found
}

func isText(expression ast.Expr) bool {
	literal, ok := expression.(*ast.BasicLit)
	return ok && literal.Kind == token.STRING
}

// byText returns the places of a file where an error is told apart by its text.
func byText(set *token.FileSet, file *ast.File) (places []string) {
	ast.Inspect(file, func(node ast.Node) bool {
		found := false
		switch n := node.(type) {
		case *ast.CallExpr:
			method, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			of, ok := method.X.(*ast.Ident)
			found = ok && comparesText[of.Name+"."+method.Sel.Name] && asksForText(n.Args[0]) || method.Sel.Name == "MatchString" && asksForText(n.Args[0])
		case *ast.BinaryExpr:
			found = (n.Op == token.EQL || n.Op == token.NEQ) && (asksForText(n.X) && isText(n.Y) || isText(n.X) && asksForText(n.Y))
		case *ast.SwitchStmt:
			found = n.Tag != nil && asksForText(n.Tag)
		}
		if found {
			places = append(places, set.Position(node.Pos()).String())
		}
		return true
	})
	return places
}

func TestNoErrorIsToldApartByItsText(t *testing.T) {
	t.Parallel()
	walkSources(t, root, func(_ string, set *token.FileSet, file *ast.File) {
		assert.Empty(t, byText(set, file))
	})

	for text, want := range map[string]int{
		`strings.Contains(err.Error(), "not found")`:                  1,
		`strings.Contains(strings.ToLower(err.Error()), "not found")`: 1,
		`err.Error() == "EOF"`:                                        1,
		`pattern.MatchString(err.Error())`:                            1,
		`func() { switch err.Error() { case "EOF": } }`:               1,
		`strings.TrimPrefix(err.Error(), "read: ")`:                   0,
		`err.Error() == before.Error()`:                               0,
		`errors.Is(err, io.EOF)`:                                      0,
		`strings.Contains(err.ErrorCode("x"), "NOTFOUND")`:            0,
	} {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, "example.go", "package example\nvar _ = "+text, parser.SkipObjectResolution)
		require.NoError(t, err)
		assert.Len(t, byText(set, file), want, text)
	}
}

// Charts come from chartcache by digest. What of Helm fetches charts runs plugins, reads Helm's configuration, and has no bounds.
func TestNothingOfHelmThatFetchesChartsOrRunsPluginsIsUsed(t *testing.T) {
	t.Parallel()
	uses := 0
	walkSources(t, root, func(path string, _ *token.FileSet, file *ast.File) {
		for _, spec := range file.Imports {
			of, found := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), "helm.sh/helm/v3/pkg/")
			if !found {
				continue
			}
			uses++
			part, _, _ := strings.Cut(of, "/")
			assert.NotContains(t, []string{"cli", "downloader", "getter", "plugin", "provenance", "pusher", "registry", "repo", "uploader"}, part, path)
		}
	})
	assert.Positive(t, uses, "the operator runs Helm actions")
}
