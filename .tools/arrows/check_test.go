package main

import (
	"slices"
	"strings"
	"testing"
)

func TestCheckFindsImportsThatGoTheWrongWay(t *testing.T) {
	p := func(path string) string { return product + path }
	for name, c := range map[string]struct {
		packages []node
		want     []string // a part of each violation; empty for none
	}{
		"a layer may import the one below": {
			packages: []node{{ImportPath: p("operator/controller"), Imports: []string{p("operator/release"), p("chartcache/client")}}},
		},
		"a layer may import itself": {
			packages: []node{{ImportPath: p("operator/api/v1alpha1"), Imports: []string{p("operator/api/internal")}}},
		},
		"the operator must not import the chartcache library": {
			packages: []node{{ImportPath: p("operator/release"), Imports: []string{p("chartcache/catalog")}}},
			want:     []string{"operator/release -> " + p("chartcache/catalog")},
		},
		"a library must not import a service": {
			packages: []node{{ImportPath: p("chartcache/server"), Imports: []string{p("services/internal/web")}}},
			want:     []string{"chartcache/server -> "},
		},
		"a leaf must not import its sibling": {
			packages: []node{{ImportPath: p("chartcache/blob"), Imports: []string{p("chartcache/index")}}},
			want:     []string{"chartcache/blob -> "},
		},
		"chartcache must not import its client": {
			packages: []node{{ImportPath: p("chartcache/server"), Imports: []string{p("chartcache/client")}}},
			want:     []string{"chartcache/server -> " + p("chartcache/client")},
		},
		"a test of chartcache may import the client": {
			packages: []node{{ImportPath: p("chartcache/server"), XTestImports: []string{p("chartcache/client")}}},
		},
		"a test must not go up either": {
			packages: []node{{ImportPath: p("proto/chartcache/v1"), TestImports: []string{p("operator/api/v1alpha1")}}},
			want:     []string{"import of a test"},
		},
		"a new part of the product needs a layer": {
			packages: []node{{ImportPath: p("extras")}},
			want:     []string{"extras is in no layer"},
		},
		"only one package may import Helm": {
			packages: []node{
				{ImportPath: p("operator/helm"), Imports: []string{"helm.sh/helm/v3/pkg/action"}},
				{ImportPath: p("operator/release"), Imports: []string{"helm.sh/helm/v3/pkg/chart"}},
				{ImportPath: p("services/internal/web"), Imports: []string{"helm.sh/helm/v3/pkg/repo"}},
			},
			want: []string{
				"operator/release -> helm.sh/helm/v3/pkg/chart",
				"services/internal/web -> helm.sh/helm/v3/pkg/repo",
			},
		},
		"comparisons with Helm may import it": {
			packages: []node{
				{ImportPath: p("services/bench/fixture"), Imports: []string{"helm.sh/helm/v3/pkg/repo", p("services/internal/indexcheck")}},
				{ImportPath: p("services/internal/indexcheck"), Imports: []string{"helm.sh/helm/v3/pkg/repo", p("chartcache/index")}},
			},
		},
		"nothing that measures or tests is shipped": {
			packages: []node{
				{ImportPath: p("services/chartcache/source"), Imports: []string{p("services/internal/indexcheck")}},
				{ImportPath: p("services/operator"), Imports: []string{p("services/internal/localstack")}},
			},
			want: []string{"services/chartcache/source -> " + p("services/internal/indexcheck"), "services/operator -> " + p("services/internal/localstack")},
		},
		"the way to a banned package is shown": {
			packages: []node{
				{ImportPath: p("chartcache/index"), Imports: []string{"example.org/yaml"}},
				{ImportPath: "example.org/yaml", Imports: []string{"k8s.io/client-go/rest"}},
			},
			want: []string{"chartcache/index -> example.org/yaml -> k8s.io/client-go/rest"},
		},
		"a name that begins alike is not banned": {
			packages: []node{{ImportPath: p("chartcache/index"), Imports: []string{"k8s.iox/client", "sigs.k8s.io/yaml"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := graph{}
			for _, n := range c.packages {
				g[n.ImportPath] = n
			}
			got := check(g, productRules())
			if len(got) != len(c.want) {
				t.Fatalf("want %d violations, got %q", len(c.want), got)
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, want) }) {
					t.Errorf("no violation says %q: %q", want, got)
				}
			}
		})
	}
}

func TestDecodeReadsWhatGoListPrints(t *testing.T) {
	g, err := decode(strings.NewReader(`{"ImportPath":"a","Imports":["b"]}` + "\n" + `{"ImportPath":"b"}`))
	if err != nil || len(g) != 2 || !slices.Equal(g["a"].Imports, []string{"b"}) {
		t.Fatalf("got %v, %v", g, err)
	}
	if _, err := decode(strings.NewReader(`{"ImportPath":`)); err == nil {
		t.Fatal("a cut off list must be an error")
	}
}
