package e2e

import (
	"testing"
)

// Every manifest that the repository ships must pass the API server's strict validation.
func TestEveryShippedSampleIsValid(t *testing.T) {
	t.Parallel()
	kubectl(t, "apply", "--dry-run=server", "--validate=strict", "--filename", "../../deploy/samples/")
	kubectl(t, "apply", "--dry-run=server", "--validate=strict", "--filename", "../../deploy/manifests.yaml")
}
