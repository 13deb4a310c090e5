package server

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// detailBytes bounds the detail of a chart, by the contract: the custom resource definitions of the largest public charts have
// about 5 MB.
const detailBytes = 12 << 20

// Fields of ChartDetail, as a mask names them.
const (
	fieldChartYAML = "chart_yaml"
	fieldValues    = "values_yaml"
	fieldReadme    = "readme"
	fieldSchema    = "values_schema"
	fieldCRDs      = "crds"
)

func (s *service) GetChartDetail(ctx context.Context, r *chartcachev1.GetChartDetailRequest) (response *chartcachev1.GetChartDetailResponse, err error) {
	source := sourceOf(r)
	resolved, err := s.catalog.Resolve(ctx, source, catalog.ResolveQuery{
		Chart: r.GetChart(), Version: r.GetVersion(), Digest: r.GetDigest(), Min: minRevision(r.GetMinRevision()),
	})
	if err != nil {
		return nil, err
	}
	tarball, info, err := s.catalog.Fetch(ctx, source, resolved)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tarball.Close()) }()
	mask := r.GetReadMask()
	files, err := blob.ReadFiles(io.NewSectionReader(tarball, 0, info.SizeBytes), detailBytes, func(path string) bool {
		return wants(mask, detailField(path))
	})
	if err != nil {
		return nil, err
	}
	return &chartcachev1.GetChartDetailResponse{Version: versionProto(resolved.Entry), Detail: detailProto(files)}, nil
}

// detailField is the field that a file of a chart belongs to; empty for other files. Subcharts have details of their own.
func detailField(path string) string {
	switch {
	case path == "Chart.yaml":
		return fieldChartYAML
	case path == "values.yaml":
		return fieldValues
	case path == "values.schema.json":
		return fieldSchema
	case slices.Contains([]string{"readme.md", "readme.txt", "readme"}, strings.ToLower(path)): // as in Helm
		return fieldReadme
	case strings.HasPrefix(path, "crds/"):
		return fieldCRDs
	default:
		return ""
	}
}

// wants reports whether a mask, which was validated, names a field. An empty mask names all, and a path may name a part of one.
func wants(mask *fieldmaskpb.FieldMask, field string) bool {
	if field == "" || len(mask.GetPaths()) == 0 {
		return field != ""
	}
	return slices.ContainsFunc(mask.GetPaths(), func(path string) bool {
		top, _, _ := strings.Cut(path, ".")
		return top == field
	})
}

func detailProto(files []blob.File) *chartcachev1.ChartDetail {
	detail := &chartcachev1.ChartDetail{}
	for _, f := range files {
		switch detailField(f.Path) {
		case fieldChartYAML:
			detail.ChartYaml = textOf(f.Content)
		case fieldValues:
			detail.ValuesYaml = textOf(f.Content)
		case fieldSchema:
			detail.ValuesSchema = textOf(f.Content)
		case fieldReadme:
			detail.Readme = textOf(f.Content)
		case fieldCRDs:
			detail.Crds = append(detail.Crds, &chartcachev1.ChartFile{Path: strings.ToValidUTF8(f.Path, "\uFFFD"), Content: f.Content})
		}
	}
	return detail
}

// textOf is a file as a text of the contract, which is UTF-8 whatever a chart holds.
func textOf(content []byte) string { return strings.ToValidUTF8(string(content), "\uFFFD") }
