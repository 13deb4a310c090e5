package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ketches/helm-operator/services/bench/fixture"
)

// measureIndex measures builds of a made-up index.
func (b *bench) measureIndex(ctx context.Context) error {
	if err := b.buildBuilder(ctx); err != nil {
		return err
	}
	if err := b.measureCanonical(ctx); err != nil {
		return err
	}
	for _, other := range []struct {
		layout fixture.Layout
		what   string
		faster float64
		limit  int64
	}{
		{fixture.JSON, "same content as JSON", 2, 90 * megabyte},
		{fixture.Foreign, "same content as another tool lays it out", 1, 150 * megabyte},
		{fixture.Flow, "same content in flow style, which needs a YAML parser", 1, 150 * megabyte},
	} {
		file, err := b.write(other.layout, b.shape)
		if err != nil {
			return err
		}
		if err := b.againstHelm(ctx, other.what, string(other.layout), file, other.faster, other.limit); err != nil {
			return err
		}
	}
	return nil
}

// measureCanonical measures the layout that Helm writes, from nothing and after one chart changed.
func (b *bench) measureCanonical(ctx context.Context) error {
	first, err := b.write(fixture.Canonical, b.shape)
	if err != nil {
		return err
	}
	info, err := os.Stat(first)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("canonical index, %d charts x %d versions, %s", b.shape.Charts, b.shape.Versions, megabytes(info.Size()))
	if err := b.againstHelm(ctx, what, "canonical", first, 20, 90*megabyte); err != nil {
		return err
	}
	changed := b.shape
	changed.Released = 1 + changed.Charts/2
	second, err := b.write(fixture.Canonical, changed)
	if err != nil {
		return err
	}
	generations := []string{b.path("cold.generation"), b.path("warm.generation"), b.path("before.generation")}
	if _, err := b.child(ctx, b.byUs("build", first, generations[2])); err != nil {
		return err
	}
	all, err := b.alternate(ctx, "changed", b.byUs("build", second, generations[0]),
		b.byUs("rebuild", second, generations[1], generations[2]))
	if err != nil {
		return err
	}
	cold, warm := all[0], all[1]
	b.table.faster("same index, one chart changed, beside a cold build", cold, warm, 2)
	return b.sameEntries(ctx, "same index, one chart changed", second, generations[1])
}

// againstHelm measures a cold build beside Helm's loader, and compares what they read. The limit of the peak is in bytes;
// 0 means that there is none.
func (b *bench) againstHelm(ctx context.Context, what, name, file string, faster float64, limit int64) error {
	b.say("%s", what)
	generation := b.path(name + ".generation")
	all, err := b.alternate(ctx, name, b.byHelm("helm", file), b.byUs("build", file, generation))
	if err != nil {
		return err
	}
	helm, ours := all[0], all[1]
	b.table.faster(what+": cold build beside `repo.LoadIndexFile`", helm, ours, faster)
	if limit > 0 {
		b.table.smaller(what+": peak memory of the process", helm, ours, limit)
	}
	return b.sameEntries(ctx, what, file, generation)
}

// sameEntries adds a row that wants a generation to hold what Helm reads. Differences are told, and are no error.
func (b *bench) sameEntries(ctx context.Context, what, file, generation string) error {
	compared, err := b.child(ctx, b.byHelm("compare", file, generation))
	r := row{what: what + ": entries", ours: fmt.Sprintf("%d, each the same as Helm's", compared.Entries), wanted: "the same"}
	if err != nil {
		b.say("%s: %v", what, err)
		r.ours = "they differ"
	}
	b.table.add(r, err == nil)
	return ctx.Err()
}

// write writes an index into the scratch folder.
func (b *bench) write(layout fixture.Layout, c fixture.Config) (path string, err error) {
	path = b.path(fmt.Sprintf("%s-%d.yaml", layout, c.Released))
	b.say("writing a %s index", layout)
	_, err = fixture.WriteFile(path, layout, c)
	return path, err
}

// measureReal measures real indexes.
func (b *bench) measureReal(ctx context.Context) error {
	if b.real == "" {
		b.table.inform(row{what: "real indexes", ours: "none given (`make bench-chartcache REAL=folder`)", wanted: ">= 10x faster"})
		return nil
	}
	packed, err := filepath.Glob(filepath.Join(b.real, "*.yaml.gz"))
	if err != nil {
		return err
	}
	if len(packed) == 0 {
		return fmt.Errorf("there is no *.yaml.gz in %s", b.real)
	}
	if err := b.buildBuilder(ctx); err != nil {
		return err
	}
	for _, file := range packed {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml.gz")
		unpacked := b.path("real-" + name + ".yaml")
		size, err := unpack(file, unpacked)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("real index %s, %.1f MB", name, float64(size)/megabyte)
		if err := b.againstHelm(ctx, what, "real-"+name, unpacked, 10, 0); err != nil {
			return err
		}
		// Of a small index, most of the time goes into the first use of memory and code, which a service pays once.
		all, err := b.alternate(ctx, "real-"+name, b.byHelm("helm-again", unpacked), b.byUs("build-again", unpacked, b.path("again.generation")))
		if err != nil {
			return err
		}
		b.table.compare(what+": the same in a process that did it before", all[0], all[1])
	}
	return nil
}

// unpack writes a compressed file to a plain one and returns its size in bytes.
func unpack(from, to string) (sizeBytes int64, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	plain, err := gzip.NewReader(in)
	if err != nil {
		return 0, fmt.Errorf("unpack %s: %w", from, err)
	}
	out, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	sizeBytes, err = io.Copy(out, plain)
	if err := errors.Join(err, out.Close()); err != nil {
		return 0, fmt.Errorf("unpack %s: %w", from, err)
	}
	return sizeBytes, nil
}
