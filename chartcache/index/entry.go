package index

import "time"

// Entry is one version of one chart, as the repository lists it.
type Entry struct {
	// Chart is the name of the chart; for OCI the path below the repository's URL.
	Chart string `json:"chart"`
	// Version is a semantic version as the repository spells it, with "+" where an OCI tag has "_".
	Version string `json:"version"`
	// AppVersion is the version of the packaged application; may be empty.
	AppVersion string `json:"appVersion,omitempty"`
	// Digest of the tarball, "sha256:" and 64 lower-case hexadecimal digits; empty when the repository gives none.
	// Something else that a repository gives as a digest is kept as it is: it matches no tarball.
	Digest string `json:"digest,omitempty"`
	// ManifestDigest is the digest of the OCI manifest, in the same form; empty for HTTP and when it is not known.
	ManifestDigest string `json:"manifestDigest,omitempty"`
	// Description is one line about the chart.
	Description string `json:"description,omitempty"`
	// Icon is the URL of an icon, as the repository gives it; may be empty.
	Icon string `json:"icon,omitempty"`
	// Type is "application", "library" or empty, which means application.
	Type string `json:"type,omitempty"`
	// Deprecated says whether the chart is.
	Deprecated bool `json:"deprecated,omitempty"`
	// Created is when the version was published; zero when the repository does not say.
	Created time.Time `json:"created,omitzero"`
	// URLs of the tarball, absolute or relative to the repository's URL, in the order to try them. Empty for OCI.
	URLs []string `json:"urls,omitempty"`
}

// Summary describes a chart by its newest version.
type Summary struct {
	// Name of the chart; for OCI the path below the repository's URL.
	Name string `json:"name"`
	// Latest is the newest stable version, or the newest one when there is no stable one.
	Latest Entry `json:"latest"`
	// VersionCount is the number of versions.
	VersionCount int `json:"versions"`
	// Revision names the content of the chart; equal content has equal names, everywhere.
	Revision string `json:"revision"`
}
