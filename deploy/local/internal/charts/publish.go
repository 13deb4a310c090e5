package charts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Publisher packages charts and puts them where clients find them, by the helm command.
type Publisher struct {
	// Helm is the path of the helm command.
	Helm string
	// Home is a folder for helm's own files, so that those of the user stay as they are.
	Home string
	// Folder is the folder that the HTTP chart repository serves.
	Folder string
	// Registry is where to push, such as 127.0.0.1:5000/charts.
	Registry string
	// PlainHTTP pushes without TLS; otherwise CA is the file of the registry's certificate authority.
	PlainHTTP bool
	CA        string
	// Username and Password for the registry. Empty: anonymous.
	Username, Password string
}

// ToFolder packages the chart of a folder as the given version and publishes it in the HTTP repository. The application version
// becomes the same.
func (p Publisher) ToFolder(ctx context.Context, chart, version string) error {
	archive, cleanUp, err := p.pack(ctx, chart, version)
	if err != nil {
		return err
	}
	defer cleanUp()
	// The repository ignores the temporary name, and the final one appears with all of its content.
	final := filepath.Join(p.Folder, filepath.Base(archive))
	temporary := final + ".part"
	data, err := os.ReadFile(archive)
	if err == nil {
		err = os.WriteFile(temporary, data, 0o644)
	}
	if err == nil {
		err = os.Rename(temporary, final)
	}
	if err != nil {
		return fmt.Errorf("publish chart: %w", err)
	}
	return nil
}

// ToRegistry packages the chart of a folder as the given version and pushes it to the registry.
func (p Publisher) ToRegistry(ctx context.Context, chart, version string) error {
	archive, cleanUp, err := p.pack(ctx, chart, version)
	if err != nil {
		return err
	}
	defer cleanUp()
	args := []string{"push", archive, "oci://" + p.Registry}
	switch {
	case p.PlainHTTP:
		args = append(args, "--plain-http")
	case p.CA != "":
		args = append(args, "--ca-file", p.CA)
	}
	if p.Username != "" {
		args = append(args, "--username", p.Username, "--password", p.Password)
	}
	return p.helm(ctx, args...)
}

func (p Publisher) pack(ctx context.Context, chart, version string) (archive string, cleanUp func(), err error) {
	out, err := os.MkdirTemp(p.Home, "package-")
	if err != nil {
		return "", nil, fmt.Errorf("make folder for chart archive: %w", err)
	}
	cleanUp = func() { _ = os.RemoveAll(out) }
	if err := p.helm(ctx, "package", chart, "--version", version, "--app-version", version, "--destination", out); err != nil {
		cleanUp()
		return "", nil, err
	}
	made, _ := filepath.Glob(filepath.Join(out, "*.tgz"))
	if len(made) != 1 {
		cleanUp()
		return "", nil, fmt.Errorf("package chart %s: helm made %d archives", filepath.Base(chart), len(made))
	}
	return made[0], cleanUp, nil
}

// helm runs the helm command. Its arguments may hold a password and are not part of the error.
func (p Publisher) helm(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, p.Helm, args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + p.Home,
		"HELM_CACHE_HOME=" + p.Home, "HELM_CONFIG_HOME=" + p.Home, "HELM_DATA_HOME=" + p.Home,
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("helm %s: %w: %s", args[0], errors.Join(context.Cause(ctx), err), strings.TrimSpace(output.String()))
	}
	return nil
}
