// Command arrows verifies that the imports of the product only go down, and that each dependency stays where it belongs:
//
//	arrows ROOT MODULE...
//
// ROOT is the folder with go.work, MODULE a folder below it. It prints each import that breaks a rule, with the way to
// it, and exits with 1 when there is one. The rules are in rules.go. It must never import anything of the product.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: arrows ROOT MODULE...")
		os.Exit(2)
	}
	graph, err := load(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "arrows:", err)
		os.Exit(2)
	}
	violations := check(graph, productRules())
	for _, violation := range violations {
		fmt.Fprintln(os.Stderr, violation)
	}
	if len(violations) > 0 {
		os.Exit(1)
	}
	fmt.Printf("imports of %d packages only go down\n", graph.own())
}
