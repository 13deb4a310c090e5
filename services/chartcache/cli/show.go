package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/chartcache/client"
)

// shown are the words for the parts of a chart.
func shown() map[string]client.Part {
	return map[string]client.Part{
		"chart": client.PartChart, "values": client.PartValues, "readme": client.PartReadme, "schema": client.PartSchema, "crds": client.PartCRDs,
	}
}

func newShow() *cobra.Command {
	var c connection
	var digest string
	cmd := &cobra.Command{
		Use:       "show PART REPOSITORY CHART [VERSION]",
		Short:     "Print a part of a chart: chart, values, readme, schema or crds",
		Long:      "Print a part of a chart as it is in the tarball: chart (Chart.yaml), values (values.yaml), readme (README.md), schema\n(values.schema.json) or crds (the files below crds/, as one YAML stream).",
		Example:   "  chartcache show values default/bitnami redis \"^20.0.0\" > values.yaml\n  chartcache show crds oci://registry.example.com/charts widgets",
		ValidArgs: []string{"chart", "values", "readme", "schema", "crds"},
		Args:      cobra.RangeArgs(3, 4),
		RunE: func(cmd *cobra.Command, args []string) error {
			part, ok := shown()[args[0]]
			if !ok {
				return fmt.Errorf("the part must be chart, values, readme, schema or crds; not %q", args[0])
			}
			return c.runChart(cmd, args[1:], digest, func(ctx context.Context, api *client.Client, request client.ChartRequest) error {
				detail, err := api.Detail(ctx, request, part)
				if err != nil {
					return err
				}
				return printDetail(cmd.OutOrStdout(), isTerminal(cmd.OutOrStdout()), detail)
			})
		},
	}
	c.addFlags(cmd)
	addDigest(cmd, &digest)
	return cmd
}

// printDetail prints the parts that a detail holds: as they are to a file or program, and to a terminal without what it would
// obey.
func printDetail(w io.Writer, terminal bool, d client.Detail) error {
	parts := []string{d.ChartYAML, d.Values, d.Readme, d.Schema}
	for _, f := range d.CRDs {
		parts = append(parts, "---\n# "+f.Path+"\n"+string(f.Content))
	}
	for _, part := range parts {
		if part != "" && !strings.HasSuffix(part, "\n") {
			part += "\n"
		}
		if terminal {
			part = printable(part)
		}
		if _, err := io.WriteString(w, part); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}
