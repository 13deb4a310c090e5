package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
)

// node is a package with what it imports.
type node struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// graph is all packages of the product and what they are linked with, by import path.
type graph map[string]node

// own counts the packages of the product.
func (g graph) own() int {
	count := 0
	for path := range g {
		if strings.HasPrefix(path, product) {
			count++
		}
	}
	return count
}

// load asks the go command, in workspace mode.
func load(root string, modules []string) (graph, error) {
	args := []string{"list", "-deps", "-json=ImportPath,Imports,TestImports,XTestImports"}
	for _, module := range modules {
		args = append(args, "./"+path.Clean(module)+"/...")
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK=")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run go list: %w", err)
	}
	loaded, decodeErr := decode(out)
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("run go list: %w", err)
	}
	return loaded, decodeErr
}

// decode reads the JSON objects that go list prints one after the other.
func decode(r io.Reader) (graph, error) {
	g := graph{}
	decoder := json.NewDecoder(r)
	for {
		var n node
		switch err := decoder.Decode(&n); {
		case errors.Is(err, io.EOF):
			return g, nil
		case err != nil:
			return nil, fmt.Errorf("read what go list prints: %w", err)
		}
		g[n.ImportPath] = n
	}
}
