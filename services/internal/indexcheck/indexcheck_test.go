package indexcheck

import (
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // Helm tells of each entry that it leaves out
	os.Exit(m.Run())
}

// canonical is laid out as "helm repo index" writes it, with what makes that hard to read.
const canonical = `apiVersion: v1
entries:
  web:
  - annotations:
      artifacthub.io/changes: |
        - kind: "added
          description: 'it''s
        # not a comment
      category: Infrastructure
    apiVersion: v2
    appVersion: 1.10.0
    created: "2026-01-02T03:04:05.123456789+02:00"
    dependencies:
    - condition: redis.enabled
      name: redis
      repository: https://charts.example.com
      version: 1.x.x
    - alias: second
      name: redis
      repository: https://charts.example.com
      tags:
      - cache
      version: 1.x.x
    deprecated: true
    description: A chart whose description is so long that it is folded over more
      than one line, as Helm's YAML library does it
    digest: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    home: https://example.com
    icon: https://example.com/icon.png
    keywords:
    - web
    - "yes"
    maintainers:
    - email: a@example.com
      name: A
    name: web
    sources:
    - https://example.com/a
    type: application
    urls:
    - https://charts.example.com/web-1.2.0.tgz
    - web-1.2.0.tgz
    version: 1.2.0
  - apiVersion: v1
    appVersion: "1.10"
    created: 2016-10-06T16:23:20.499814565-06:00
    description: 'Quoted: it''s one'
    digest: "0123456789012345678901234567890123456789012345678901234567890123"
    name: web
    urls: []
    version: 1.1.0+build.5
  - apiVersion: v1
    appVersion: "0x10"
    description: "Escaped\tby \U0001F680 and folded by a backslash \
      here"
    name: web
    version: "2"
  - apiVersion: v1
    description: |-
      Block
        of text

      with a blank line
    name: web
    version: v1.0.0-rc.1
  "yes":
  - name: quoted
    urls:
    - a.tgz
    version: 1.0.0
  none: []
  zero:
generated: "2026-01-02T03:04:05Z"
serverInfo: {}
`

// seeds are indexes of every kind.
var seeds = []string{
	canonical,
	strings.ReplaceAll(canonical, "\n  ", "\n    "),
	strings.ReplaceAll(canonical, "\n  -", "\n      -"),
	strings.ReplaceAll(canonical, "\n", "\r\n"),
	strings.ReplaceAll(canonical, `"0x10"`, "0x10"),
	"",
	"apiVersion: v1\n",
	"---\napiVersion: v1\nentries: {}\n",
	"# comment\napiVersion: v1\nentries:\n  # comment\n  a: # comment\n  # comment\n  - name: a # comment\n    # comment\n    version: 1.0.0\n...\nentries: 1\n",
	"apiVersion: v1\nentries:\n  a:\n  - {name: a, version: 1.0.0, urls: [x, 'y']}\n  - name: a\n    urls: [a,\n  b]\n    version: 1.1.0\n",
	"apiVersion: v1\nentries:\n  a:\n  - name: a\n    home: \"open\n  b:\n  - name: b\n    version: 1.0.0\n    home: closed\"\n    version: 2.0.0\n",
	"apiVersion: v1\nentries:\n  a: &a\n  - name: a\n    version: 1.0.0\n  b: *a\n",
	"apiVersion: v1\nentries:\n  a:\n  - &a {name: a, version: 1.0.0}\n  - {<<: *a, version: 1.1.0}\n",
	"apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    maintainers:\n    -\n  - name: a\n    version: 1.1.0\n    dependencies:\n    - name: x\n      alias: not/allowed\n",
	"apiVersion: v1\nentries:\n  a:\n  - name: a\n    Version: 1.0.0\n    description: one\n    Description: two\n",
	"apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    home: |\n      text\n  b:\n   - name: b\n     version: 1e3\n     appVersion: 1_000\n",
	"apiVersion: v1\nentries:\n  a:\n  - name: a/b\n    version: 1.0.0\n  - name: a\n    version: one\n  - name: a\n    version: 1.0.0\n    type: thing\n  - name: a\n    version: 1.0.1\n    icon: \"\\u200b\\t\"\n",
	"entries:\n  a:\n  - name: a\n    version: 1.0.0\napiVersion: v1\n",
	"apiVersion: v1\nentries:\n- a\n",
	"apiVersion: v1\nentries:\n  a:\n    - name: a\n      urls:\n        - x\n          - y\n      version: 1.0.0\n",
	"{\"apiVersion\":\"v1\",\"entries\":{\"a\":[{\"name\":\"a\",\"version\":\"1.0.0\",\"urls\":[\"x\"]},null,{\"name\":\"a\"}],\"b\":null}}",
	"{\"apiVersion\":\"v1\",\"entries\":{\"a\":[{\"name\":\"a\",\"version\":\"1.0.0\"}],\"a\":[{\"name\":\"a\",\"version\":\"2.0.0\"}]},\"generated\":null}",
	"{apiVersion: v1, entries: {a: [{name: a, version: 1.0.0}]}}",
	"entries:\n  a:\n  - name: a\n    version: &v 1.0.0\nannotations:\n  x: *v\napiVersion: v1\n",
	"apiVersion: v1\nannotations:\n  n: \"see\n...more\"\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n",
	"apiVersion: v1\nannotations:\n  a: \"x\nentries:\n  fake:\n  - name: fake\n    version: 1.0.0\nb\"\nentries:\n  real:\n  - name: real\n    version: 1.0.0\n",
	"apiVersion: v1\nannotations:\n  a: \"x\nentries:\n  fake:\n  - name: fake\n    version: 1.0.0\nb\"\n",
	"apiVersion: v1\nentries: # c\r  hidden:\r  - {name: hidden, version: 1.0.0}\n  real:\n  - {name: real, version: 1.0.0}\n",
	"apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    description: \"foo\\ \n      bar\"\n",
	"{\"apiVersion\":\"v1\",\"entries\":{\"c\":[{\"name\":\"c\",\"version\":\"1.0.0\"}]},\"entries\":null}",
	"{\"apiVersion\":\"v1\",\"entries\":{\"c\":[{\"name\":\"c\",\"version\":\"1.0.0\",\"maintainers\":[null],\"maintainers\":[]}]}}",
}

// compare reports whether Helm accepts an index.
func compare(t testing.TB, folder, text string) (accepted bool) {
	t.Helper()
	loaded, err := Load(folder, []byte(text))
	if err != nil {
		require.ErrorIs(t, err, ErrRefused)
		if ours, err := Build(folder, []byte(text), nil); err == nil {
			require.NoError(t, ours.Close())
		}
		return false
	}
	ours, err := Build(folder, []byte(text), nil)
	require.NoError(t, err, "Helm accepts it")
	defer func() { _ = ours.Close() }()
	require.NoError(t, Equal(loaded, ours))

	again, err := Build(folder, []byte(text), ours)
	require.NoError(t, err)
	defer func() { _ = again.Close() }()
	assert.Equal(t, ours.Revision(), again.Revision(), "what was not parsed again is the same")
	assert.Equal(t, ours.Stats(), again.Stats())
	return true
}

func TestHelmAndWeReadTheSame(t *testing.T) {
	accepted := 0
	folder := t.TempDir()
	for _, text := range seeds {
		if compare(t, folder, text) {
			accepted++
		}
	}
	assert.Equal(t, 25, accepted, "of these, Helm accepts so many; the others say nothing")
}

func TestADifferenceIsFound(t *testing.T) {
	folder := t.TempDir()
	loaded, err := Load(folder, []byte(canonical))
	require.NoError(t, err)
	ours, err := Build(folder, []byte(strings.ReplaceAll(canonical, "icon.png", "icon.gif")), nil)
	require.NoError(t, err)
	defer func() { _ = ours.Close() }()
	assert.ErrorContains(t, Equal(loaded, ours), "icon.gif")
	_, err = Load(folder, nil)
	assert.ErrorIs(t, err, ErrRefused)
}

func FuzzHelmAndWeReadTheSame(f *testing.F) {
	for _, text := range seeds {
		f.Add(text)
	}
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) { compare(t, folder, text) })
}

// pieces are what lines of indexes are made of, whole ones and broken ones.
var pieces = []string{
	"a:", "b:", "\"c\":", "yes:", "d: []", "e: {", "f: &x", "g: *x", "entries:", "apiVersion: v1", "---", "# comment", "", "}", "]",
	"- name: a", "- name: b", "- {name: a, version: 3.0.0}", "- {name: a,", "version: 4.0.0}", "-", "- - x", "- &x", "- <<: *x", "- null",
	"name: a", "version: 1.0.0", "version: 1.1.0", "version: '2.0.0'", "version: 1.2", "version: v1.3.0+b", "version:", "name:", "description:", "icon:", "created:", "deprecated:", "urls: x",
	"description: words", "description: more words that", "go on", "go on: here", "description: \"open", "closed\"", "closed\": x", "closed\" # comment",
	"description: 'it''s", "it's'", "description: |", "description: >-", "description: |2", "description: \"tab\\t\"", "description: \"\\", "text # comment",
	"home: x", "home: \"open", "home: |", "home: [a, b]", "home: [a,", "b]", "home: 'open", "home: !!str x", "home: a: b", "annotations:", "x: y", "x: |+", "x: \"y", "? x",
	"maintainers:", "- email: e", "- ~", "dependencies:", "- alias: a/b", "alias: ok", "- condition: c", "tags:", "keywords: [a, 'b']",
	"urls:", "- x", "- \"y\"", "- https://example.com/a.tgz", "urls: []", "urls: [z]", "created: 2026-01-02T03:04:05Z", "created: \"2026-01-02T03:04:05+01:00\"", "created: never",
	"deprecated: true", "deprecated: yes", "deprecated: \"true\"", "type: application", "type: thing", "icon: ~", "icon: 'i'", "Icon: j", "appVersion: \"1.10\"", "appVersion: 1e3",
	"digest: 0123456789012345678901234567890123456789012345678901234567890123", "digest: ABC", "digest: 0x1f", "unknown: x", "name: \tb", "name: \u2028b",
}

// indexOf makes an index of a text: each two bytes choose an indent and a piece.
func indexOf(choices []byte) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nentries:\n")
	for ; len(choices) > 1; choices = choices[2:] {
		b.WriteString(strings.Repeat(" ", int(choices[0]%9)) + pieces[int(choices[1])%len(pieces)] + "\n")
	}
	return b.String()
}

// choicesOf undoes indexOf where it can.
func choicesOf(text string) (choices []byte) {
	for line := range strings.Lines(text) {
		content := strings.TrimLeft(line, " ")
		at := slices.Index(pieces, strings.TrimSuffix(content, "\n"))
		choices = append(choices, byte(len(line)-len(content)), byte(max(at, 0)))
	}
	return choices
}

func FuzzHelmAndWeReadTheSameLines(f *testing.F) {
	for _, text := range []string{
		"  a:\n  - name: a\n    version: 1.0.0\n    description: words\n    urls:\n    - x\n",
		"  a:\n  - name: a\n    home: \"open\n      closed\"\n    version: 1.0.0\n  b:\n  - name: b\n    version: 1.1.0\n",
		"  a:\n  - name: a\n    version: 1.0.0\n    home: |\n      text # comment\n    description: >-\n      go on\n\n      go on\n",
		"  a:\n  - &x\n    name: a\n    version: 1.0.0\n  - <<: *x\n    version: 1.1.0\n  b:\n    - name: b\n      version: 1.1.0\n",
		"  a:\n  - name: a\n    version: 1.0.0\n    annotations:\n      x: |+\n        text # comment\n    maintainers:\n    - email: e\n    dependencies:\n    - condition: c\n      alias: ok\n",
	} {
		f.Add(choicesOf(text))
	}
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, choices []byte) { compare(t, folder, indexOf(choices)) })
}
