package client

import (
	"context"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Part is a part of a chart that Detail returns.
type Part string

// Parts of a chart.
const (
	// PartChart is Chart.yaml.
	PartChart Part = "chart_yaml"
	// PartValues is values.yaml, with its comments.
	PartValues Part = "values_yaml"
	// PartReadme is README.md.
	PartReadme Part = "readme"
	// PartSchema is values.schema.json.
	PartSchema Part = "values_schema"
	// PartCRDs are the files below crds/.
	PartCRDs Part = "crds"
)

// Detail holds parts of a chart as they are in its tarball. What the chart lacks, or was not asked for, is empty.
type Detail struct {
	// Version with its digest.
	Version ChartVersion
	// ChartYAML, Values, Readme and Schema are Chart.yaml, values.yaml, README.md and values.schema.json.
	ChartYAML, Values, Readme, Schema string
	// CRDs are the files below crds/.
	CRDs []File
}

// File is one file of a chart.
type File struct {
	// Path inside the chart, such as "crds/widgets.yaml".
	Path string
	// Content as it is.
	Content []byte
}

// Detail returns parts of a chart version without its tarball; no parts mean all of them. Errors: *Error, such as those of
// Resolve and Download; TOO_LARGE when the parts have more than 12 MiB together.
func (c *Client) Detail(ctx context.Context, request ChartRequest, parts ...Part) (Detail, error) {
	p := &chartcachev1.GetChartDetailRequest{
		Source:      &chartcachev1.GetChartDetailRequest_Url{Url: request.Source.URL},
		Chart:       request.Chart,
		Version:     request.Version,
		Digest:      request.Digest,
		MinRevision: revisionProto(request.MinRevision),
	}
	if request.Source.URL == "" {
		p.Source = &chartcachev1.GetChartDetailRequest_Repository{Repository: refOf(request.Source)}
	}
	if len(parts) > 0 {
		p.ReadMask = &fieldmaskpb.FieldMask{}
		for _, part := range parts {
			p.ReadMask.Paths = append(p.ReadMask.Paths, string(part))
		}
	}
	response, err := call(ctx, c, request.Source, c.timeouts.Resolve, c.rpc.GetChartDetail, p)
	if err != nil {
		return Detail{}, err
	}
	got := response.GetDetail()
	d := Detail{
		Version:   versionOf(response.GetVersion()),
		ChartYAML: got.GetChartYaml(), Values: got.GetValuesYaml(), Readme: got.GetReadme(), Schema: got.GetValuesSchema(),
	}
	for _, f := range got.GetCrds() {
		d.CRDs = append(d.CRDs, File{Path: f.GetPath(), Content: f.GetContent()})
	}
	return d, nil
}
