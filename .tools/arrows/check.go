package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// check returns one line for each import that breaks a rule, in a stable order.
func check(g graph, r rules) []string {
	var found []string
	for _, from := range slices.Sorted(maps.Keys(g)) {
		if !strings.HasPrefix(from, product) {
			continue
		}
		found = append(found, checkLayers(g[from], r)...)
		found = append(found, checkOwned(g[from], r)...)
		found = append(found, checkBans(g, from, r)...)
	}
	return found
}

func checkLayers(n node, r rules) []string {
	self, allowed, ok := layerOf(n.ImportPath, r.layers)
	if !ok {
		return []string{n.ImportPath + " is in no layer: give it one in .tools/arrows/rules.go"}
	}
	_, inTests, _ := layerOf(n.ImportPath, r.testLayers)
	var found []string
	complain := func(imports []string, allowed []string, kind string) {
		for _, to := range imports {
			if !strings.HasPrefix(to, product) {
				continue
			}
			layer, _, known := layerOf(to, r.layers)
			if known && (layer == self || permits(allowed, layer, r.apart)) {
				continue
			}
			found = append(found, fmt.Sprintf("%s -> %s: %s goes up or sideways", n.ImportPath, to, kind))
		}
	}
	complain(n.Imports, allowed, "import")
	complain(append(slices.Clone(n.TestImports), n.XTestImports...), append(slices.Clone(allowed), inTests...), "import of a test")
	return found
}

// layerOf returns the longest pattern that fits a package, and what it allows.
func layerOf(path string, layers []layer) (pattern string, allowed []string, ok bool) {
	for _, l := range layers {
		if below(path, l.from) && len(l.from) >= len(pattern) {
			pattern, allowed, ok = l.from, l.to, true
		}
	}
	return pattern, allowed, ok
}

// permits reports whether one of the allowed patterns covers a layer. A permission for a folder does not cover a layer
// below it that stands apart.
func permits(allowed []string, target string, apart []string) bool {
	for _, pattern := range allowed {
		if target == pattern || below(target, pattern) && !slices.Contains(apart, target) {
			return true
		}
	}
	return false
}

func checkOwned(n node, r rules) []string {
	var found []string
	for _, o := range r.owned {
		if slices.ContainsFunc(o.by, func(pattern string) bool { return below(n.ImportPath, pattern) }) {
			continue
		}
		for _, to := range n.Imports {
			if below(to, o.foreign) {
				found = append(found, fmt.Sprintf("%s -> %s: only %s may: %s", n.ImportPath, to, strings.Join(o.by, ", "), o.why))
			}
		}
	}
	return found
}

func checkBans(g graph, from string, r rules) []string {
	var found []string
	for _, b := range r.bans {
		if !below(from, b.from) {
			continue
		}
		if chain := wayTo(g, from, b.forbidden); chain != nil {
			found = append(found, fmt.Sprintf("%s: %s", strings.Join(chain, " -> "), b.why))
		}
	}
	return found
}

// wayTo returns the shortest chain of imports from a package to a forbidden one; nil when there is none.
func wayTo(g graph, from string, forbidden []string) []string {
	cameFrom := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		current := queue[0]
		if slices.ContainsFunc(forbidden, func(pattern string) bool { return below(current, pattern) }) {
			var chain []string
			for p := current; p != ""; p = cameFrom[p] {
				chain = append([]string{p}, chain...)
			}
			return chain
		}
		for _, next := range g[current].Imports {
			if _, seen := cameFrom[next]; !seen {
				cameFrom[next] = current
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// below reports whether a path is a pattern or lies below it.
func below(path, pattern string) bool {
	return path == pattern || strings.HasPrefix(path, pattern+"/")
}
