package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/chartcache/client"
)

func newSync() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:     "sync REPOSITORY",
		Short:   "Sync a repository now and print its state",
		Example: "  chartcache sync default/bitnami",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := sourceOf(args[0])
			if err != nil {
				return err
			}
			return c.run(cmd, func(ctx context.Context, api *client.Client) error {
				result, err := api.Sync(ctx, source)
				if err != nil {
					return err
				}
				if !result.Changed {
					note(cmd.ErrOrStderr(), "Nothing changed since the last sync.")
				}
				return c.printRepositories(cmd, []repository{repositoryOf(result.Repository)})
			})
		},
	}
	c.addFlags(cmd, asTable, asJSON)
	return cmd
}

func newWatch() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print the state of all repositories, then every change, until interrupted",
		Long: "Print the state of all repositories, then every change as it happens, until interrupted. A connection that breaks is made\n" +
			"again, and nothing is missed. With -o json, each line is one event.",
		Example: "  chartcache watch\n  chartcache watch -o json | grep bitnami",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd, func(ctx context.Context, api *client.Client) error {
				if err := api.Watch(ctx, func(e client.Event) { c.printEvent(cmd, e) }); ctx.Err() == nil {
					return err
				}
				return nil // it was told to end, by a signal or by --timeout
			})
		},
	}
	c.addFlags(cmd, asTable, asJSON)
	return cmd
}

// event is an event as JSON.
type event struct {
	Event      string      `json:"event"`
	Repository *repository `json:"repository,omitempty"`
	// Charts are those that changed; All says that every one may have.
	Charts []string `json:"charts,omitempty"`
	All    bool     `json:"allCharts,omitempty"`
	Error  string   `json:"error,omitempty"`
}

func (c *connection) printEvent(cmd *cobra.Command, e client.Event) {
	line, text := describe(e)
	if c.output == asJSON {
		data, err := json.Marshal(line)
		if err != nil { // texts and numbers only
			return
		}
		text = string(data)
	}
	_, _ = fmt.Fprintln(cmd.OutOrStdout(), text) // whoever reads may go away; the next signal ends the watch
}

// describe says what happened, for programs and for people.
func describe(e client.Event) (line event, text string) {
	switch e := e.(type) {
	case *client.Changed:
		r := repositoryOf(e.Repository)
		line = event{Event: "changed", Repository: &r, Charts: e.Charts, All: e.AllCharts}
		text = fmt.Sprintf("changed   %s   %s, %d charts", oneLine(e.Repository.Source.String()), r.State, r.Charts)
		if len(e.Charts) > 0 {
			text += "   " + oneLine(strings.Join(e.Charts, " "))
		}
		if r.Error != nil {
			text += "   " + r.Error.Reason + ": " + oneLine(r.Error.Message)
		}
	case *client.Deleted:
		line = event{Event: "deleted", Repository: &repository{Namespace: e.Source.Namespace, Name: e.Source.Name, URL: e.Source.URL}}
		text = fmt.Sprintf("deleted   %s", oneLine(e.Source.String()))
	case *client.Synced:
		line, text = event{Event: "complete"}, "complete"
	case *client.Up:
		line, text = event{Event: "connected"}, "connected"
	case *client.Down:
		line, text = event{Event: "disconnected", Error: e.Err.Error()}, fmt.Sprintf("disconnected   %s", e.Err)
	}
	return line, printable(text)
}
