package fieldproof

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// root of the repository.
const root = "../../.."

// helmReleaseProofs names for each field of a HelmRelease the tests that fail when the field is ignored. Where one test shows that
// an option reaches the Helm action, and another what the action makes of it, both are named.
func helmReleaseProofs() map[string][]string {
	const arrives = "operator/release: TestEveryOptionArrives"
	const (
		rendered = "operator/render: TestPatchesAndImagesChangeWhatTheyAreFor"
		named    = "operator/release: TestTheChartThatTheSpecNamesIsAskedFor"
		hooks    = "operator/helm: TestHooksAreLeftOutWhereAsked"
		schema   = "operator/helm: TestSchemaIsSkippedWhenAsked"
		force    = "operator/helm: TestForceReplacesObjectsInsteadOfPatchingThem"
		rollback = "operator/helm: TestARollbackWaitsAndCleansUpWhereAsked"
		upgrade  = "operator/helm: TestAnUpgradeWaitsAndKeepsWhatItMadeWhereAsked"
		jobs     = "operator/helm: TestWaitForJobs"
		strict   = "operator/helm: TestUnknownFieldsAreRefusedBeforeAnythingIsWritten"
		tests    = "operator/helm: TestTheTestsOfAChartRun"
		tested   = "operator/release: TestWhatWasDeployedIsTestedOnce"
		retried  = "operator/release: TestFailuresAreRetriedAsTheSpecSays"
		compose  = "operator/values: TestComposeMergesReferencesInOrder"
		rule     = "operator/drift: TestEveryFieldOfATargetMustMatch"
		driftE2E = "services/e2e: TestWhatIsDeletedOrEditedByHandIsReportedAndThenCorrected"
		crdsE2E  = "services/e2e: TestDefinitionsOfAChartAreCreatedAndReplacedByPolicy"
		testsE2E = "services/e2e: TestATestOfAChartThatFailsRollsBackWhereAsked"
		httpE2E  = "services/e2e: TestAReleaseFromAnHTTPRepositoryLandsInItsNamespace"
		rotated  = "services/e2e: TestValuesOfARotatedSecretArriveAtOnce"
	)
	return map[string][]string{
		"chart.name":                 {named, "operator/helm: TestInstallOfBadInputSaysWhatIsWrong"},
		"chart.version":              {named, "services/e2e: TestANewerMatchingVersionArrivesByItself"},
		"chart.digest":               {named},
		"chart.repository.name":      {named},
		"chart.repository.namespace": {named},
		"chart.repositoryURL":        {named, "operator/release: TestResolveURL"},
		"chart.ociRepository":        {named, "services/e2e: TestReleasesFromARegistryWorkByReferenceAndByURL"},

		"release.name":            {httpE2E},
		"release.namespace":       {httpE2E, "operator/controller: TestAReleaseIsInstalledIntoItsNamespaceUpgradedAndUninstalled"},
		"release.createNamespace": {httpE2E, "operator/helm: TestInstallCreatesTheNamespaceWhenAsked"},
		"release.onChange":        {"services/e2e: TestARenamedReleaseIsRefusedReinstalledOrLeftBehindByPolicy"},
		"release.adopt":           {"operator/release: TestReleasesOfOthersAreRefused"},

		"values":                     {"services/e2e: TestChangedValuesUpgradeAndUnchangedOnesDoNot", "operator/values: TestComposeReadsBothForms"},
		"valuesFrom[].kind":          {compose, rotated},
		"valuesFrom[].name":          {compose, rotated},
		"valuesFrom[].key":           {compose, rotated},
		"valuesFrom[].targetPath":    {compose, rotated},
		"valuesFrom[].optional":      {compose, "operator/values: TestComposeNamesTheReferenceThatIsWrong"},
		"interval":                   {"operator/release: TestOptionsThatDoNotChangeTheObjectsUpgradeNothing"},
		"suspend":                    {"services/e2e: TestASuspendedReleaseIsLeftAlone"},
		"dependsOn[].name":           {"services/e2e: TestAChainOfReleasesIsInstalledInOrderAndUninstalledInReverse"},
		"dependsOn[].namespace":      {"operator/release: TestADependencyMayBeInAnotherNamespace"},
		"serviceAccountName":         {"services/e2e: TestAnAccountThatLacksOneRightIsToldWhichAndMendedByGrantingIt"},
		"deletionPolicy":             {"operator/controller: TestAnOrphanStays"},
		"commonMetadata.labels":      {"operator/render: TestCommonMetadataIsOnEveryObjectAndWinsOverTheChart"},
		"commonMetadata.annotations": {"operator/render: TestCommonMetadataIsOnEveryObjectAndWinsOverTheChart"},

		"install.timeout":                 {arrives, "operator/helm: TestFailedInstallIsUpgradedOver"},
		"install.wait":                    {"services/e2e: TestWaitFalseStaysFalse"},
		"install.waitForJobs":             {arrives, "operator/helm: TestAnInstallWaitsForJobsWhereAsked"},
		"install.skipCRDs":                {crdsE2E},
		"install.replace":                 {arrives, "operator/helm: TestKeptHistoryIsInstalledOver"},
		"install.disableHooks":            {arrives, hooks},
		"install.takeOwnership":           {arrives, "operator/helm: TestObjectsOfOthersAreTakenOnlyWhenAsked"},
		"install.disableSchemaValidation": {arrives, schema},
		"install.fieldValidation":         {"operator/release: TestPoliciesOfTheSpecReachHelm", strict},
		"install.remediation":             {"operator/release: TestAFailedFirstInstallIsRemovedBeforeTheNextTryWhereWished"},

		"upgrade.timeout":                 {arrives, upgrade},
		"upgrade.wait":                    {arrives, upgrade},
		"upgrade.waitForJobs":             {arrives, jobs},
		"upgrade.force":                   {arrives, force},
		"upgrade.resetValues":             {arrives, "operator/helm: TestUpgradeUsesNoOldValuesUnlessAsked"},
		"upgrade.reuseValues":             {arrives, "operator/helm: TestUpgradeUsesNoOldValuesUnlessAsked"},
		"upgrade.recreate":                {arrives, "operator/helm: TestRecreateDeletesThePodsOfUpdatedObjects"},
		"upgrade.maxHistory":              {arrives, "operator/helm: TestHistoryIsBounded"},
		"upgrade.cleanupOnFail":           {arrives, upgrade, "operator/helm: TestFailedUpgradeSaysWhyAndIsCleanedUp"},
		"upgrade.disableHooks":            {arrives, hooks},
		"upgrade.takeOwnership":           {arrives, "operator/helm: TestAnUpgradeTakesObjectsOfOthersOnlyWhereAsked"},
		"upgrade.disableSchemaValidation": {arrives, schema},
		"upgrade.fieldValidation":         {"operator/release: TestAnUpgradeIsStrictWhereTheSpecSaysSo", strict},

		"uninstall.timeout":      {arrives, "operator/helm: TestAnUninstallThatTakesTooLongSaysWhatStays"},
		"uninstall.disableHooks": {arrives, hooks},
		"uninstall.keepHistory":  {arrives, "operator/helm: TestKeptHistoryIsInstalledOver"},

		"rollback.enabled":       {"services/e2e: TestABadUpgradeIsRolledBackAndHeldUntilTheSpecIsMended"},
		"rollback.toRevision":    {"operator/release: TestTheRevisionThatTheSpecNamesIsRolledBackTo"},
		"rollback.timeout":       {arrives, rollback},
		"rollback.wait":          {arrives, rollback},
		"rollback.cleanupOnFail": {arrives, rollback},
		"rollback.force":         {arrives, force},
		"rollback.disableHooks":  {arrives, hooks},

		"test.enable":            {testsE2E},
		"test.timeout":           {tested, "operator/helm: TestATestThatTakesTooLongFails"},
		"test.ignoreFailures":    {testsE2E},
		"test.filters[].name":    {tested, tests},
		"test.filters[].exclude": {testsE2E, tested},

		"crds.install": {crdsE2E},
		"crds.upgrade": {crdsE2E},

		"retry.limit":       {retried},
		"retry.interval":    {retried},
		"retry.maxInterval": {retried},

		"driftDetection.mode":                               {driftE2E},
		"driftDetection.ignore[].paths":                     {driftE2E},
		"driftDetection.ignore[].target.group":              {rule},
		"driftDetection.ignore[].target.version":            {rule},
		"driftDetection.ignore[].target.kind":               {rule},
		"driftDetection.ignore[].target.name":               {rule},
		"driftDetection.ignore[].target.namespace":          {rule},
		"driftDetection.ignore[].target.labelSelector":      {rule},
		"driftDetection.ignore[].target.annotationSelector": {rule},

		"postRenderers[].kustomize.patches[].patch":                     {rendered, "services/e2e: TestAReleaseIsChangedAfterRenderingAndRolledBackToWhatWasRecorded"},
		"postRenderers[].kustomize.patches[].target.group":              {rendered},
		"postRenderers[].kustomize.patches[].target.version":            {rendered},
		"postRenderers[].kustomize.patches[].target.kind":               {rendered},
		"postRenderers[].kustomize.patches[].target.name":               {rendered},
		"postRenderers[].kustomize.patches[].target.namespace":          {rendered},
		"postRenderers[].kustomize.patches[].target.labelSelector":      {rendered},
		"postRenderers[].kustomize.patches[].target.annotationSelector": {rendered},
		"postRenderers[].kustomize.images[].name":                       {rendered},
		"postRenderers[].kustomize.images[].newName":                    {rendered},
		"postRenderers[].kustomize.images[].newTag":                     {rendered},
		"postRenderers[].kustomize.images[].digest":                     {rendered},
	}
}

func TestEveryFieldOfAHelmReleaseHasATestThatFailsWhenItIsIgnored(t *testing.T) {
	t.Parallel()
	findings, err := Findings(root, reflect.TypeFor[v1alpha1.HelmReleaseSpec](), helmReleaseProofs())
	require.NoError(t, err)
	assert.Empty(t, findings)
}
