package index

import (
	"errors"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// maxExpandedBytes bounds what the aliases of a document may make of it: a few bytes could stand for any number.
const maxExpandedBytes = 64 << 20

// maybeAlias finds what can be an alias of YAML: an asterisk where a value may begin.
var maybeAlias = regexp.MustCompile(`(?:^|[\s\[{,:-])\*[^\s*]`)

// checkAliases refuses a document whose aliases would expand to too much.
func checkAliases(data []byte) error {
	if !maybeAlias.Match(data) {
		return nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return errors.Join(errSyntax, err)
	}
	e := expansion{sizes: map[*yaml.Node]int{}}
	if e.size(&document) > maxExpandedBytes {
		return errors.Join(errSyntax, errors.New("its aliases expand to too much"))
	}
	return nil
}

// expansion sums up how large nodes are once aliases are followed.
type expansion struct {
	// sizes of nodes with an anchor; while one is being summed up, its size is beyond any bound, since it contains itself.
	sizes map[*yaml.Node]int
}

func (e *expansion) size(n *yaml.Node) int {
	const perNode = 8
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if size, ok := e.sizes[n]; ok {
		return size
	}
	if n.Anchor != "" {
		e.sizes[n] = maxExpandedBytes + 1
	}
	size := perNode + len(n.Value)
	for _, child := range n.Content {
		size = min(size+e.size(child), maxExpandedBytes+1)
	}
	if n.Anchor != "" {
		e.sizes[n] = size
	}
	return size
}
