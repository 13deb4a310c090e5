package helm

import (
	"fmt"
	"sync"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/client-go/discovery"
)

// capabilitiesAge is how long what the cluster can do is believed. Helm asks anew for each action, which is its largest
// cost after validation; charts test for API versions that come with other charts, so minutes would be too long.
const capabilitiesAge = 30 * time.Second

// capabilitiesCache remembers what .Capabilities is in templates.
type capabilitiesCache struct {
	discovery discovery.CachedDiscoveryInterface
	now       func() time.Time

	// mu guards the fields below and is held while the cluster is asked, so that it is asked once.
	mu      sync.Mutex
	fetched time.Time
	caps    *chartutil.Capabilities
}

// get returns a copy of the capabilities, at most capabilitiesAge old.
func (c *capabilitiesCache) get() (*chartutil.Capabilities, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caps != nil && c.now().Sub(c.fetched) < capabilitiesAge {
		return c.caps.Copy(), nil
	}
	c.discovery.Invalidate()
	version, err := c.discovery.ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("ask the API server for its version: %w", err)
	}
	apis, err := action.GetVersionSet(c.discovery)
	// A broken aggregated API must not stop releases that do not use it; the others are still listed.
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("ask the API server for its API versions: %w", err)
	}
	c.caps = &chartutil.Capabilities{
		KubeVersion: chartutil.KubeVersion{
			Version: version.GitVersion,
			Major:   version.Major,
			Minor:   version.Minor,
		},
		APIVersions: apis,
		HelmVersion: chartutil.DefaultCapabilities.HelmVersion,
	}
	c.fetched = c.now()
	return c.caps.Copy(), nil
}

// forget makes the next get ask the cluster.
func (c *capabilitiesCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.caps = nil
}
