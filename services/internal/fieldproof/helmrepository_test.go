package fieldproof

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// helmRepositoryProofs names for each field of a HelmRepository the tests that fail when the field, or an edit of it, is ignored.
func helmRepositoryProofs() map[string][]string {
	const (
		edited      = "services/e2e: TestEveryFieldOfARepositoryMayBeEditedInPlace"
		brings      = "services/e2e: TestAnEditedURLOrIntervalOrAResumedRepositoryBringsWhatIsThereNow"
		opens       = "services/e2e: TestPrivateRepositoriesOpenWithTheKeyOfNowOnly"
		authority   = "services/e2e: TestAnAuthorityThatNobodyKnowsMustBeGiven"
		files       = "services/e2e: TestCredentialsInFilesAreReadBelowTheAllowedFolderOnly"
		policy      = "services/e2e: TestConfigMapsHoldTheDefaultValuesOfChartsAsThePolicySays"
		credentials = "services/chartcache/source: TestCredentialsOfObjects"
		wrong       = "services/chartcache/source: TestAnObjectThatCannotWorkSaysWhatToEdit"
		clamped     = "services/chartcache/source: TestDurationsAreClamped"
	)
	return map[string][]string{
		"url":      {edited, brings, wrong},
		"type":     {edited, wrong},
		"interval": {edited, brings, clamped, "chartcache/catalog: TestARepositorySyncsAtOnceAndThenOnSchedule"},
		"timeout":  {edited, clamped, "chartcache/catalog: TestASyncIsBoundedByItsTimeout"},
		"suspend":  {edited, brings, "chartcache/catalog: TestSuspendStopsSyncsButNotServing"},
		"insecure": {edited, "chartcache/upstream: TestARegistryThatSpeaksPlainHTTPNeedsConsent"},

		"auth.secretRef.name":            {edited, opens, credentials},
		"auth.secretRef.namespace":       {edited, wrong, "services/e2e: TestASecretOfAnotherNamespaceIsUsedWhereTheAdministratorAllowsIt"},
		"auth.basic.username":            {edited, credentials},
		"auth.basic.password":            {edited, credentials},
		"auth.basic.secretRef.name":      {edited, opens, credentials},
		"auth.basic.secretRef.namespace": {wrong, "services/chartcache/source: TestASecretOfAnotherNamespaceIsReadWhereAllowed"},
		"auth.tls.insecureSkipVerify":    {edited, authority},
		"auth.tls.caFile":                {files, credentials},
		"auth.tls.certFile":              {files, credentials},
		"auth.tls.keyFile":               {files, credentials},
		"auth.tls.secretRef.name":        {edited, opens, authority},
		"auth.tls.secretRef.namespace":   {wrong, "services/chartcache/source: TestASecretOfAnotherNamespaceIsReadWhereAllowed"},
		"auth.passCredentials":           {"services/e2e: TestCredentialsGoToOtherHostsOfTheIndexOnlyWhereAsked", "chartcache/upstream: TestCredentialsAreSentToTheRepositoryOnly"},

		"valuesConfigMapPolicy":    {policy, "operator/controller: TestAnotherPolicyRemovesWhatTheOneBeforeLeft"},
		"valuesConfigMapRetention": {policy, "operator/controller: TestWhatIsUnusedIsRemovedAtItsTimeByItself"},
	}
}

func TestEveryFieldOfAHelmRepositoryHasATestThatFailsWhenItIsIgnored(t *testing.T) {
	t.Parallel()
	findings, err := Findings(root, reflect.TypeFor[v1alpha1.HelmRepositorySpec](), helmRepositoryProofs())
	require.NoError(t, err)
	assert.Empty(t, findings)
}
