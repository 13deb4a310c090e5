package main

// product is the path that all our packages have in front.
const product = "github.com/ketches/helm-operator/"

// rules say which imports are allowed. A pattern is a path below which everything is meant, the path included.
type rules struct {
	// layers name, for a part of the product, the only parts of the product that it may import besides itself. The
	// longest pattern that fits a package counts.
	layers []layer
	// testLayers are imports that only tests may have, in addition.
	testLayers []layer
	// apart are layers that the permission to import the folder around them does not cover.
	apart []string
	// bans keep foreign packages out of what a part is linked with, however many packages lie between.
	bans []ban
	// owned are foreign packages that only some packages may import directly, tests aside.
	owned []owned
}

type layer struct {
	from string
	to   []string
}

type ban struct {
	from      string
	forbidden []string
	why       string
}

type owned struct {
	foreign string
	by      []string
	why     string
}

// productRules are the arrows of the product, top to bottom.
func productRules() rules {
	const (
		proto      = product + "proto"
		chartcache = product + "chartcache"
		client     = product + "chartcache/client"
		cacheerr   = product + "chartcache/cacheerr"
		upstream   = product + "chartcache/upstream"
		index      = product + "chartcache/index"
		disk       = product + "chartcache/internal/disk"
		blob       = product + "chartcache/blob"
		catalog    = product + "chartcache/catalog"
		operator   = product + "operator"
		api        = product + "operator/api"
		helm       = product + "operator/helm"
		values     = product + "operator/values"
		drift      = product + "operator/drift"
		readiness  = product + "operator/internal/readiness"
		fence      = product + "operator/fence"
		render     = product + "operator/render"
		valuesmap  = product + "operator/valuesmap"
		release    = product + "operator/release"
		services   = product + "services"
		internal   = product + "services/internal"
		bench      = product + "services/bench"
		indexcheck = product + "services/internal/indexcheck"
		localstack = product + "services/internal/localstack"
		faultproxy = product + "services/internal/faultproxy"
		fieldproof = product + "services/internal/fieldproof"
		tlstest    = product + "services/internal/tlsfiles/tlstest"
	)
	kubernetes := []string{"k8s.io", "sigs.k8s.io/controller-runtime"}
	return rules{
		layers: []layer{
			{proto, nil},
			{client, []string{proto}},
			{cacheerr, []string{proto}},
			{upstream, []string{cacheerr, proto}},
			{index, []string{cacheerr, proto}},
			{disk, []string{cacheerr, proto}},
			{blob, []string{disk, cacheerr, proto}},
			{catalog, []string{upstream, index, blob, disk, cacheerr, proto}},
			{chartcache, []string{chartcache, proto}},
			{api, nil},
			{readiness, nil},
			{fence, nil},
			{drift, []string{api}},
			{helm, []string{api, readiness, fence, drift}},
			{values, []string{api}},
			{render, []string{api}},
			{valuesmap, []string{api}},
			{release, []string{helm, values, drift, render, api, client, proto}},
			{operator, []string{operator, client, proto}},
			{internal, nil},
			{indexcheck, []string{chartcache}},
			{services, []string{internal, operator, chartcache, client, proto}},
		},
		testLayers: []layer{
			{chartcache, []string{client}},
			{fieldproof, []string{api}},
		},
		apart: []string{client},
		bans: []ban{
			{chartcache, append([]string{"helm.sh/helm"}, kubernetes...), "the chartcache library knows no Kubernetes"},
			{proto, append([]string{"helm.sh/helm"}, kubernetes...), "everyone imports the contract"},
			{api, []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime", "helm.sh/helm", "google.golang.org/grpc"},
				"everyone imports the types"},
			{services + "/chartcache", []string{bench, indexcheck, localstack, faultproxy, fieldproof, tlstest, "helm.sh/helm"}, "chartcache ships without Helm and without tests"},
			{services + "/operator", []string{bench, indexcheck, localstack, faultproxy, fieldproof, tlstest}, "the operator ships without tests"},
		},
		owned: []owned{
			{"helm.sh/helm", []string{helm, bench, indexcheck}, "a move to the next Helm must touch one package; only comparisons with Helm need it too"},
		},
	}
}
