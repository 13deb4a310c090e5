package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/ketches/helm-operator/chartcache/client"
)

// column is a column of a table.
type column[T any] struct {
	title string
	value func(T) string
}

// printTable prints rows below the titles of their columns.
func printTable[T any](w io.Writer, columns []column[T], rows []T) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = c.title
	}
	_, _ = fmt.Fprintln(table, strings.Join(cells, "\t")) // an error comes again with Flush
	for _, row := range rows {
		for i, c := range columns {
			cells[i] = oneLine(c.value(row))
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// oneLine keeps what upstream says from moving the cursor or breaking the table.
func oneLine(text string) string {
	const most = 80
	clean := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text))
	if len(clean) > most {
		clean = append(clean[:most-1], '…')
	}
	return string(clean)
}

// printable drops the control characters that a terminal may obey, and keeps lines and tabs.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// repository is a repository as JSON.
type repository struct {
	Namespace  string     `json:"namespace,omitempty"`
	Name       string     `json:"name,omitempty"`
	URL        string     `json:"url"`
	Type       string     `json:"type"`
	State      string     `json:"state"`
	Syncing    bool       `json:"syncing"`
	Revision   string     `json:"revision,omitempty"`
	ObservedAt *time.Time `json:"observedAt,omitempty"`
	Charts     int64      `json:"charts"`
	Versions   int64      `json:"versions"`
	Rejected   int64      `json:"rejectedEntries"`
	IndexBytes int64      `json:"indexSizeBytes"`
	StaleSince *time.Time `json:"staleSince,omitempty"`
	LastSync   *time.Time `json:"lastSyncTime,omitempty"`
	LastCheck  *time.Time `json:"lastCheckTime,omitempty"`
	NextSync   *time.Time `json:"nextSyncTime,omitempty"`
	Error      *failure   `json:"lastError,omitempty"`
}

type failure struct {
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
}

// version is a chart version as JSON.
type version struct {
	Chart          string     `json:"chart"`
	Version        string     `json:"version"`
	AppVersion     string     `json:"appVersion,omitempty"`
	Digest         string     `json:"digest,omitempty"`
	ManifestDigest string     `json:"manifestDigest,omitempty"`
	Created        *time.Time `json:"created,omitempty"`
	Description    string     `json:"description,omitempty"`
	Deprecated     bool       `json:"deprecated"`
	Icon           string     `json:"icon,omitempty"`
	Type           string     `json:"type,omitempty"`
}

// chart is the summary of a chart as JSON.
type chart struct {
	Name     string  `json:"name"`
	Latest   version `json:"latest"`
	Versions int     `json:"versions"`
	Revision string  `json:"revision"`
}

// when leaves out a time that is not known.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func repositoryOf(r client.Repository) repository {
	out := repository{
		Namespace: r.Source.Namespace, Name: r.Source.Name, URL: r.URL,
		Type:  word(r.Type.String(), "REPOSITORY_TYPE_"),
		State: word(r.State.String(), "REPOSITORY_STATE_"), Syncing: r.Syncing,
		Revision: r.Revision.Name, ObservedAt: when(r.Revision.ObservedAt),
		Charts: r.ChartCount, Versions: r.VersionCount, Rejected: r.RejectedEntryCount, IndexBytes: r.IndexSizeBytes,
		StaleSince: when(r.StaleSince), LastSync: when(r.LastSyncTime), LastCheck: when(r.LastCheckTime), NextSync: when(r.NextSyncTime),
	}
	if e := r.LastError; e != nil {
		out.Error = &failure{Reason: strings.TrimPrefix(e.Reason.String(), "ERROR_REASON_"), Message: e.Message, Time: e.Time}
	}
	return out
}

func versionOf(v client.ChartVersion) version {
	return version{
		Chart: v.Chart, Version: v.Version, AppVersion: v.AppVersion, Digest: v.Digest, ManifestDigest: v.ManifestDigest,
		Created: when(v.Created), Description: v.Description, Deprecated: v.Deprecated, Icon: v.Icon, Type: v.Type,
	}
}

// word is the name of an enumeration's value as people write it.
func word(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// day is a time in a table.
func day(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// orDash is a text in a table that may be missing.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
