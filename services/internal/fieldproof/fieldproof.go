// Package fieldproof checks that each field of an API type has a test that fails when the field is ignored: a table names the
// tests, and a field that is new, or a test that is gone, is a finding. Another table does the same for what was wrong in the
// original project, and its tests read the sources for what must not be in them. It is for tests only and imports nothing of the
// product.
package fieldproof

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Fields returns the paths of all fields below a type that hold no other fields, by their names in JSON, such as "chart.name" and
// "valuesFrom[].key", sorted. Types that marshal themselves and maps are one field.
func Fields(of reflect.Type) []string {
	paths := fields(of, "")
	slices.Sort(paths)
	return paths
}

func fields(of reflect.Type, path string) []string {
	if reflect.PointerTo(of).Implements(reflect.TypeFor[interface{ MarshalJSON() ([]byte, error) }]()) {
		return []string{path}
	}
	switch of.Kind() { //nolint:exhaustive // all others hold no fields
	case reflect.Pointer:
		return fields(of.Elem(), path)
	case reflect.Slice:
		return fields(of.Elem(), path+"[]")
	case reflect.Struct:
	default:
		return []string{strings.TrimSuffix(path, "[]")}
	}
	var paths []string
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && name == "" {
			paths = append(paths, fields(field.Type, path)...)
			continue
		}
		paths = append(paths, fields(field.Type, strings.TrimPrefix(path+"."+name, "."))...)
	}
	return paths
}

// Findings compares a table with the fields of a type and with the tests below a folder. The table gives for each field the tests
// that prove it, as "folder: TestName", where the folder is relative to root and holds the test's file.
func Findings(root string, of reflect.Type, proofs map[string][]string) ([]string, error) {
	var findings []string
	known := Fields(of)
	for _, field := range known {
		if len(proofs[field]) == 0 {
			findings = append(findings, fmt.Sprintf("field %s: no test proves that it works; write one and name it in the table", field))
		}
	}
	for _, field := range slices.Sorted(maps.Keys(proofs)) {
		if _, found := slices.BinarySearch(known, field); !found {
			findings = append(findings, fmt.Sprintf("field %s: there is no such field; take it out of the table", field))
		}
	}
	missing, err := Missing(root, "field", proofs)
	return append(findings, missing...), err
}

// Missing returns what is said to be proved by tests that are not there. Proofs are as of Findings; kind is what they are about.
func Missing(root, kind string, proofs map[string][]string) ([]string, error) {
	var findings []string
	tests := map[string]map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(proofs)) {
		for _, proof := range proofs[name] {
			folder, test, ok := strings.Cut(proof, ": ")
			if !ok {
				return nil, fmt.Errorf("proof %q of %s %s is not of the form \"folder: TestName\"", proof, kind, name)
			}
			if tests[folder] == nil {
				var err error
				if tests[folder], err = testsIn(filepath.Join(root, folder)); err != nil {
					return nil, err
				}
			}
			if !tests[folder][test] {
				findings = append(findings, fmt.Sprintf("%s %s: there is no test %s in %s", kind, name, test, folder))
			}
		}
	}
	return findings, nil
}

// testsIn returns the names of the tests in the files of a folder.
func testsIn(folder string) (map[string]bool, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there are no tests in %s: %w", folder, os.ErrNotExist)
	}
	tests := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("read the tests in %s: %w", folder, err)
		}
		for _, declaration := range parsed.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if ok && function.Recv == nil && strings.HasPrefix(function.Name.Name, "Test") && !onlySkips(function) {
				tests[function.Name.Name] = true
			}
		}
	}
	return tests, nil
}

// onlySkips reports whether a test begins by skipping itself, so that it proves nothing.
func onlySkips(test *ast.FuncDecl) bool {
	if test.Body == nil || len(test.Body.List) == 0 {
		return true
	}
	statement, ok := test.Body.List[0].(*ast.ExprStmt)
	if !ok {
		return false
	}
	call, ok := statement.X.(*ast.CallExpr)
	if !ok {
		return false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	return ok && strings.HasPrefix(method.Sel.Name, "Skip")
}
