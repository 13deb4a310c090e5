package helm

import (
	"bytes"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

// reused is what an upgrade with ReuseValues takes from the revision before.
type reused struct {
	// defaults replace the values.yaml of the chart.
	defaults map[string]any
}

// loadChart reads a tarball and checks that it is a chart that can be installed.
func loadChart(source ChartSource) (*chart.Chart, error) {
	chrt, err := loader.LoadArchive(bytes.NewReader(source.Chart))
	if err != nil {
		return nil, newError(StageLoad, fmt.Errorf("%w: %w", ErrInvalidChart, err), "read the chart: %s", clip(err.Error()))
	}
	if source.ChartName != "" && chrt.Name() != source.ChartName {
		return nil, newError(StageLoad, ErrChartName,
			"the chart that arrived is called %q, not %q", chrt.Name(), source.ChartName)
	}
	if kind := chrt.Metadata.Type; kind != "" && kind != "application" {
		return nil, newError(StageLoad, ErrInvalidChart,
			"chart %s is of type %q: only application charts can be installed", chrt.Name(), kind)
	}
	if err := action.CheckDependencies(chrt, chrt.Metadata.Dependencies); err != nil {
		return nil, newError(StageLoad, fmt.Errorf("%w: %w", ErrInvalidChart, err),
			"chart %s is not complete: dependencies %s", chrt.Name(), clip(err.Error()))
	}
	return chrt, nil
}

// checkValues checks values against the schemas of a loaded chart and of its subcharts. It works on a chart of its own,
// because composing values changes charts.
func (op *operation) checkValues(loaded *chart.Chart, source ChartSource, values map[string]any, reuse *reused) error {
	if source.SkipSchemaValidation || !hasSchema(loaded) {
		return nil
	}
	chrt, err := loadChart(source)
	if err != nil {
		return err
	}
	if reuse != nil {
		chrt.Values = copyValues(reuse.defaults)
	}
	values = copyValues(values)
	if err := chartutil.ProcessDependenciesWithMerge(chrt, values); err != nil {
		return newError(StageValidate, err, "%s", op.mask.text(describe(err)))
	}
	composed, err := chartutil.CoalesceValues(chrt, values)
	if err != nil {
		return newError(StageValidate, err, "%s", op.mask.text(describe(err)))
	}
	if problems := schemaProblems(chrt, composed); len(problems) > 0 {
		return newError(StageValidate, ErrInvalidValues, "%s",
			op.mask.text("the values do not match the schema of the chart: "+strings.Join(problems, "; ")))
	}
	return nil
}

func hasSchema(chrt *chart.Chart) bool {
	if chrt.Schema != nil {
		return true
	}
	for _, dependency := range chrt.Dependencies() {
		if hasSchema(dependency) {
			return true
		}
	}
	return false
}

// copyValues returns a deep copy, so that nothing that Helm does to values reaches the caller's.
func copyValues(values map[string]any) map[string]any {
	out := make(map[string]any, len(values))
	for key, value := range values {
		out[key] = copyValue(value)
	}
	return out
}

func copyValue(value any) any {
	switch v := value.(type) {
	case map[string]any:
		return copyValues(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = copyValue(v[i])
		}
		return out
	default:
		return v
	}
}
