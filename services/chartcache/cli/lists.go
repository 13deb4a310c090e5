package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/chartcache/client"
)

func newRepositories() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:     "repositories [NAMESPACE]",
		Aliases: []string{"repos"},
		Short:   "List repositories and the state of their syncs",
		Example: "  chartcache repositories\n  chartcache repositories default -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, func(ctx context.Context, api *client.Client) error {
				namespace := ""
				if len(args) > 0 {
					namespace = args[0]
				}
				list, err := api.ListRepositories(ctx, namespace)
				if err != nil {
					return err
				}
				rows := make([]repository, 0, len(list))
				for _, r := range list {
					rows = append(rows, repositoryOf(r))
				}
				return c.printRepositories(cmd, rows)
			})
		},
	}
	c.addFlags(cmd, asTable, asJSON)
	return cmd
}

func (c *connection) printRepositories(cmd *cobra.Command, rows []repository) error {
	if c.output == asJSON {
		return printJSON(cmd.OutOrStdout(), rows)
	}
	return printTable(cmd.OutOrStdout(), []column[repository]{
		{"NAMESPACE", func(r repository) string { return orDash(r.Namespace) }},
		{"NAME", func(r repository) string { return orDash(r.Name) }},
		{"TYPE", func(r repository) string { return r.Type }},
		{"STATE", func(r repository) string { return r.State }},
		{"CHARTS", func(r repository) string { return strconv.FormatInt(r.Charts, 10) }},
		{"VERSIONS", func(r repository) string { return strconv.FormatInt(r.Versions, 10) }},
		{"CHECKED", func(r repository) string { return day(r.LastCheck) }},
		{"URL", func(r repository) string { return r.URL }},
		{"ERROR", func(r repository) string {
			if r.Error == nil {
				return "-"
			}
			return r.Error.Reason + ": " + r.Error.Message
		}},
	}, rows)
}

func newCharts() *cobra.Command {
	var c connection
	var limit int
	cmd := &cobra.Command{
		Use:     "charts REPOSITORY [TEXT]",
		Short:   "List the charts of a repository, or those whose name or description holds a text",
		Example: "  chartcache charts default/bitnami\n  chartcache charts https://charts.example.com redis -o json",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := sourceOf(args[0])
			if err != nil {
				return err
			}
			options := client.ListChartsOptions{Limit: limit}
			if len(args) > 1 {
				options.Query = args[1]
			}
			return c.run(cmd, func(ctx context.Context, api *client.Client) error {
				list, err := api.ListCharts(ctx, source, options)
				if err != nil {
					return err
				}
				noteStale(cmd, list.Stale)
				return c.printCharts(cmd, list.Charts)
			})
		},
	}
	c.addFlags(cmd, asTable, asJSON)
	cmd.Flags().IntVar(&limit, "limit", 0, "Largest number of charts; 0 means all.")
	return cmd
}

func (c *connection) printCharts(cmd *cobra.Command, list []client.ChartSummary) error {
	rows := make([]chart, 0, len(list))
	for _, s := range list {
		rows = append(rows, chart{Name: s.Name, Latest: versionOf(s.Latest), Versions: s.VersionCount, Revision: s.Revision})
	}
	if c.output == asJSON {
		return printJSON(cmd.OutOrStdout(), rows)
	}
	return printTable(cmd.OutOrStdout(), []column[chart]{
		{"NAME", func(r chart) string { return r.Name }},
		{"LATEST", func(r chart) string { return r.Latest.Version }},
		{"APP VERSION", func(r chart) string { return orDash(r.Latest.AppVersion) }},
		{"VERSIONS", func(r chart) string { return strconv.Itoa(r.Versions) }},
		{"DESCRIPTION", func(r chart) string { return withDeprecation(r.Latest) }},
	}, rows)
}

func withDeprecation(v version) string {
	if v.Deprecated {
		return "DEPRECATED " + v.Description
	}
	return v.Description
}

func newVersions() *cobra.Command {
	var c connection
	var options client.ListVersionsOptions
	cmd := &cobra.Command{
		Use:     "versions REPOSITORY CHART",
		Short:   "List the versions of a chart, newest first",
		Example: "  chartcache versions default/bitnami redis --constraint \"^20.0.0\"\n  chartcache versions oci://registry.example.com/charts redis --prereleases",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := sourceOf(args[0])
			if err != nil {
				return err
			}
			return c.run(cmd, func(ctx context.Context, api *client.Client) error {
				list, err := api.ListVersions(ctx, source, args[1], options)
				if err != nil {
					return err
				}
				noteStale(cmd, list.Stale)
				return c.printVersions(cmd, list.Versions)
			})
		},
	}
	c.addFlags(cmd, asTable, asJSON)
	cmd.Flags().StringVar(&options.Constraint, "constraint", "", "Constraint that versions must satisfy, such as \"^1.2.0\".")
	cmd.Flags().BoolVar(&options.IncludePrereleases, "prereleases", false, "List prereleases too.")
	cmd.Flags().IntVar(&options.Limit, "limit", 0, "Largest number of versions; 0 means all.")
	return cmd
}

func (c *connection) printVersions(cmd *cobra.Command, list []client.ChartVersion) error {
	rows := make([]version, 0, len(list))
	for _, v := range list {
		rows = append(rows, versionOf(v))
	}
	if c.output == asJSON {
		return printJSON(cmd.OutOrStdout(), rows)
	}
	return printTable(cmd.OutOrStdout(), []column[version]{
		{"VERSION", func(r version) string { return r.Version }},
		{"APP VERSION", func(r version) string { return orDash(r.AppVersion) }},
		{"CREATED", func(r version) string { return day(r.Created) }},
		{"DIGEST", func(r version) string { return orDash(r.Digest) }},
	}, rows)
}

// resolution is what a constraint means, as JSON.
type resolution struct {
	version
	Newest   string `json:"newestVersion,omitempty"`
	Revision string `json:"revision,omitempty"`
	Stale    bool   `json:"stale"`
}

func newResolve() *cobra.Command {
	var c connection
	var digest string
	cmd := &cobra.Command{
		Use:     "resolve REPOSITORY CHART [VERSION]",
		Short:   "Say which version and digest a version, constraint or digest means now",
		Long:    "Say which version and digest a version, constraint or digest means now. Without a version, it is the newest stable one.",
		Example: "  chartcache resolve default/bitnami redis \"^20.0.0\"\n  chartcache resolve default/bitnami redis -o json",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.runChart(cmd, args, digest, func(ctx context.Context, api *client.Client, request client.ChartRequest) error {
				resolved, err := api.Resolve(ctx, request)
				if err != nil {
					return err
				}
				noteStale(cmd, resolved.Stale)
				return c.printResolution(cmd, resolution{
					version: versionOf(resolved.Version), Newest: resolved.NewestVersion, Revision: resolved.Revision.Name, Stale: resolved.Stale,
				})
			})
		},
	}
	c.addFlags(cmd, asTable, asJSON)
	addDigest(cmd, &digest)
	return cmd
}

func (c *connection) printResolution(cmd *cobra.Command, r resolution) error {
	if c.output == asJSON {
		return printJSON(cmd.OutOrStdout(), r)
	}
	return printTable(cmd.OutOrStdout(), []column[resolution]{
		{"CHART", func(r resolution) string { return r.Chart }},
		{"VERSION", func(r resolution) string { return r.Version }},
		{"NEWEST", func(r resolution) string { return orDash(r.Newest) }},
		{"DIGEST", func(r resolution) string { return r.Digest }},
	}, []resolution{r})
}
