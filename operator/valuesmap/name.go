package valuesmap

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// DataKey is the key of a ConfigMap under which it holds the chart's values.yaml.
const DataKey = "values.yaml"

// NamePrefix is what the names of all ConfigMaps begin with.
const NamePrefix = "helm-values-"

const (
	// maxName is the longest name of an object (a DNS subdomain, RFC 1123).
	maxName = 253
	// hashDigits is the length of the hash behind an ambiguous name: 64 bits, so that nobody can make a chart whose name collides
	// with another one.
	hashDigits = 16
)

// Chart is a version of a chart. It is comparable.
type Chart struct {
	// Name of the chart; in a registry the path below the repository's URL.
	Name string
	// Version as the repository spells it.
	Version string
}

// String returns "name version".
func (c Chart) String() string { return c.Name + " " + c.Version }

// Namer names the ConfigMaps of one repository.
//
// A name is helm-values-REPOSITORY-CHART-VERSION in lower case, with one hyphen for whatever is neither a letter nor a digit. Where
// that could be the name of another chart, too, or is too long, a hash of the three parts is behind it: two charts never have the same
// name, whatever they and the repositories of a namespace are called.
type Namer struct {
	repository string
	// others are the other repositories of the namespace.
	others []string
	format formats
}

// formats are the forms of names that can be read back. They are compiled once for each Namer.
type formats struct{ version, hash *regexp.Regexp }

// NewNamer returns the Namer of a repository, given the names of all repositories of its namespace.
func NewNamer(repository string, siblings []string) *Namer {
	n := &Namer{repository: repository, format: formats{
		version: regexp.MustCompile(`^(.+?)-(v?[0-9]+-[0-9]+-[0-9]+)(-[0-9]*[a-z][0-9a-z]*(?:-[0-9a-z]+)*)?$`),
		hash:    regexp.MustCompile(`-[0-9a-f]{16}$`),
	}}
	for _, other := range siblings {
		if other != repository {
			n.others = append(n.others, other)
		}
	}
	return n
}

// Name returns the name of the ConfigMap of a chart version.
func (n *Namer) Name(chart Chart) string {
	plain, hashed := n.forms(chart)
	if n.isPlain(plain, chart) {
		return plain
	}
	return hashed
}

// Could reports whether a ConfigMap of a chart version may have a name: the one that Name returns, or one that it would return beside
// other repositories, or that the original project gave, which knew no hashes.
func (n *Namer) Could(name string, chart Chart) bool {
	plain, hashed := n.forms(chart)
	return chart.Name != "" && chart.Version != "" && (name == plain || name == hashed)
}

// forms returns the names of the ConfigMap of a chart version without a hash and with one.
func (n *Namer) forms(chart Chart) (plain, hashed string) {
	plain = NamePrefix + sanitize(n.repository+"-"+chart.Name+"-"+chart.Version)
	// The lengths keep the parts apart: no part can pose as the end of another.
	parts := sha256.New()
	for _, part := range []string{n.repository, chart.Name, chart.Version} {
		_, _ = parts.Write([]byte{byte(len(part) >> 8), byte(len(part))})
		_, _ = parts.Write([]byte(part))
	}
	short := plain[:min(len(plain), maxName-hashDigits-1)]
	return plain, strings.TrimRight(short, "-") + "-" + hex.EncodeToString(parts.Sum(nil))[:hashDigits]
}

// isPlain reports whether a name can be read back as this chart and as no other.
func (n *Namer) isPlain(name string, chart Chart) bool {
	if len(name) > maxName || n.format.hash.MatchString(name) {
		return false
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(name, NamePrefix), n.repository+"-")
	if !ok {
		return false // the name of the repository itself was changed
	}
	// Of several repositories that such a name could be of, the one with the shortest name has it.
	for _, other := range n.others {
		if len(other) < len(n.repository) && strings.HasPrefix(n.repository, other+"-") {
			return false
		}
	}
	// A chart's name may end like a version; what is read back is the shortest name. That a name ends in a number is more common than
	// that a prerelease begins with one.
	m := n.format.version.FindStringSubmatch(rest)
	return len(m) == 4 && m[1] == chart.Name && versionOf(m[2], m[3]) == chart.Version
}

// versionOf reads a version back: the three numbers, and a prerelease without hyphens behind them.
func versionOf(numbers, rest string) string {
	version := strings.ReplaceAll(numbers, "-", ".")
	if rest != "" {
		version += "-" + strings.ReplaceAll(rest[1:], "-", ".")
	}
	return version
}

// sanitize makes a text fit for a name of an object: lower case, with one hyphen for whatever is neither a letter nor a digit, and
// none at the ends.
func sanitize(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	gap := false
	for i := range len(text) {
		c := text[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if ('a' > c || c > 'z') && ('0' > c || c > '9') {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte('-')
		}
		gap = false
		b.WriteByte(c)
	}
	return b.String()
}
