package index

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// entryWith is a section whose only entry holds some lines, which are indented as deep as its keys.
func entryWith(lines string) string {
	return "  c:\n  - name: c\n    version: 1.0.0\n" + lines
}

func TestLinesAreReadAsAParserReadsThem(t *testing.T) {
	for name, section := range map[string]string{
		"no entries":                        "  c:\n",
		"a quoted name":                     "  \"c\":\n  - name: c\n    version: 1.0.0\n",
		"a comment behind the name":         "  c: # comment\n  - name: c\n    version: 1.0.0\n",
		"comments":                          "  c:\n  # one\n  # two\n  - name: c\n# three\n    # four\n    version: 1.0.0 # five\n",
		"wide indents":                      "    c:\n        -   name: c\n            version: 1.0.0\n            urls:\n                - x\n",
		"Windows' ends of lines":            "  c:\r\n  - name: c\r\n    version: 1.0.0\r\n    description: |\r\n      text\r\n",
		"a text of several lines":           entryWith("    description: one\n      two\n\n      three\n    icon: x\n"),
		"a quotation of several lines":      entryWith("    description: \"one\n      two: [\n\n      three\"\n    icon: 'x\n      y'\n"),
		"a block of text":                   entryWith("    description: |\n      one\n        two\n\n      # three\n    icon: x\n"),
		"a folded block":                    entryWith("    description: >-\n      one\n      two\n    icon: x\n"),
		"escapes":                           entryWith("    description: \"\\u00e4\\t\\\"\"\n    icon: 'it''s'\n"),
		"a number and a flag as text":       entryWith("    appVersion: 1.10\n    description: true\n    icon: ~\n    type: \"application\"\n"),
		"what is ignored may look odd":      entryWith("    home: \"a\n      - b: [\n      \"\n    annotations:\n      a: |\n        \"open\n        {\n      'b': \"closed\"\n      c: [x, 'y]']\n"),
		"no URLs":                           entryWith("    urls: []\n"),
		"URLs":                              entryWith("    urls:\n    - x\n    - \"y\" # comment\n    - https://example.com/a#b\n"),
		"dependencies":                      entryWith("    dependencies:\n    - alias: a\n      condition: a.enabled,b.enabled\n      import-values:\n      - child: x\n        parent: y\n      name: d\n      tags:\n      - one\n"),
		"maintainers":                       entryWith("    maintainers:\n    - name: \"A, B\"\n      email: a@example.com\n    - name: C\n      url: https://example.com\n"),
		"an entry that Helm does not take":  entryWith("    type: thing\n  - name: c\n    version: 1.1.0\n"),
		"a time that is none":               entryWith("    created: yesterday\n"),
		"a time":                            entryWith("    created: 2026-01-02T03:04:05.6+01:00\n"),
		"a flag":                            entryWith("    deprecated: true\n"),
		"a flag in other words":             entryWith("    deprecated: yes\n"),
		"an unusual digest":                 entryWith("    digest: ABC\n"),
		"a digest that looks like a number": entryWith("    digest: 0123456789012345678901234567890123456789012345678901234567890123\n"),
	} {
		t.Run(name, func(t *testing.T) {
			got, certain := newLineParser().parse([][]byte{[]byte(section)})
			require.True(t, certain)
			want, ok := decodeSection([]byte(section))
			require.True(t, ok)
			assert.Equal(t, want, got)
		})
	}
}

func TestWhatIsNotCertainIsLeftToAParser(t *testing.T) {
	for name, section := range map[string]string{
		"an anchor":                           entryWith("    home: &a x\n"),
		"an alias":                            entryWith("    description: *a\n"),
		"a tag":                               entryWith("    description: !!str 5\n"),
		"a merge":                             entryWith("    <<: {icon: x}\n"),
		"an entry in brackets":                "  c:\n  - {name: c, version: 1.0.0}\n",
		"URLs in brackets":                    entryWith("    urls: [x]\n"),
		"brackets over lines":                 entryWith("    keywords: [a,\n      b]\n"),
		"a tab":                               entryWith("    icon: a\tb\n"),
		"an unusual end of a line":            entryWith("    icon: a\u2028b\n"),
		"what is not UTF-8":                   entryWith("    icon: \xff\n"),
		"a key in other letters":              entryWith("    Icon: x\n"),
		"an unknown key":                      entryWith("    later: x\n"),
		"a quoted key":                        entryWith("    \"icon\": x\n"),
		"a block that counts its indent":      entryWith("    description: |2\n        x\n"),
		"a mapping as text":                   entryWith("    description:\n      a: b\n"),
		"a list as text":                      entryWith("    description:\n    - a\n"),
		"a quotation that ends less indented": entryWith("    home: \"open\n  closed\"\n"),
		"something behind a quotation":        entryWith("    home: \"a\" b\n"),
		"a colon in a text":                   entryWith("    description: a: b\n"),
		"an odd dependency":                   entryWith("    dependencies:\n    - name: d\n      alias: a/b\n"),
		"a dependency that is null":           entryWith("    dependencies:\n    -\n"),
		"a maintainer that is null":           entryWith("    maintainers:\n    - ~\n"),
		"maintainers in brackets":             entryWith("    maintainers: [null]\n"),
		"URLs of several lines":               entryWith("    urls:\n    - x\n      - y\n"),
		"a name that is a number":             "  1:\n  - name: c\n    version: 1.0.0\n",
		"a name that is a flag":               "  yes:\n  - name: c\n    version: 1.0.0\n",
		"no list":                             "  c: text\n",
		"a mapping":                           "  c:\n    name: c\n",
		"less indented keys":                  "  c:\n    -  name: c\n      version: 1.0.0\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, certain := newLineParser().parse([][]byte{[]byte(section)})
			assert.False(t, certain)
		})
	}
}

func TestAParserThatGaveUpRemembersNothingOfIt(t *testing.T) {
	p := newLineParser()
	_, certain := p.parse([][]byte{[]byte("  a:\n  - icon: of another chart\n   oops\n")})
	require.False(t, certain)
	got, certain := p.parse([][]byte{[]byte(entryWith(""))})
	require.True(t, certain)
	require.Len(t, got.entries, 1)
	assert.Empty(t, got.entries[0].Icon)
}

func TestASectionInPiecesIsReadAsTheWhole(t *testing.T) {
	section := entryWith("    description: |\n      one\n\n      two\n    icon: \"a\n      b\"\n    urls:\n    - one\n    - two\n")
	section += strings.TrimPrefix(section, "  c:\n")
	want, certain := newLineParser().parse([][]byte{[]byte(section)})
	require.True(t, certain)
	lines := bytes.SplitAfter([]byte(section), []byte("\n"))
	for at := 1; at < len(lines); at++ {
		got, certain := newLineParser().parse([][]byte{bytes.Join(lines[:at], nil), bytes.Join(lines[at:], nil)})
		require.True(t, certain)
		assert.Equal(t, want, got)
	}
}

func TestJSONIsReadAsEncodingJSONReadsIt(t *testing.T) {
	for name, list := range map[string]string{
		"nothing":        `[]`,
		"an entry":       `[{"name":"c","version":"1.0.0","urls":["x","y"],"created":"2026-01-02T03:04:05Z","deprecated":true,"digest":"ABC"}]`,
		"null":           "[null, {\"name\":\"c\",\n\t\"version\":\"1.0.0\"} ]",
		"escapes":        `[{"name":"c","version":"1.0.0","description":"\u00e4\n\"","icon":"\/"}]`,
		"what is unused": `[{"name":"c","version":"1.0.0","annotations":{"a":"}\\\"{","b":[1,-2.5e3,true,null,{}]},"keywords":[],"removed":false}]`,
		"checked fields": `[{"name":"c","version":"1.0.0","maintainers":[{"name":"m"}],"dependencies":[{"alias":"a"}]},{"name":"c","version":"1.1.0","maintainers":[{"name":"m"}]}]`,
		"checked, wrong": `[{"name":"c","version":"1.0.0","maintainers":[null]},{"name":"c","version":"1.1.0","dependencies":[{"alias":"a/b"}]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			got, certain := newJSONParser().parse("c", []byte(list))
			require.True(t, certain)
			want, ok := decodeJSONList("c", []byte(list))
			require.True(t, ok)
			assert.Equal(t, want, got)
		})
	}
	for name, list := range map[string]string{
		"no list":                `{}`,
		"cut off":                `[{"name":"c"}`,
		"something behind":       `[] x`,
		"a wrong escape":         `[{"name":"\x"}]`,
		"a control character":    "[{\"name\":\"a\x01\"}]",
		"a number of its own":    `[{"home":01}]`,
		"a comma too many":       `[{"name":"c",}]`,
		"a number as text":       `[{"name":5}]`,
		"a key in other letters": `[{"Name":"c"}]`,
		"deeply nested":          `[{"annotations":` + nested(maxJSONDepth+1) + `}]`,
	} {
		t.Run(name, func(t *testing.T) {
			_, certain := newJSONParser().parse("c", []byte(list))
			assert.False(t, certain)
		})
	}
}

func nested(depth int) string {
	text := "1"
	for range depth {
		text = "[" + text + "]"
	}
	return text
}
