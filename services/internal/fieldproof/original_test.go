package fieldproof

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answer is what is done about something that was wrong in the original project: tests that show that it is right here, or why it
// cannot be wrong here.
type answer struct {
	// was says what was wrong.
	was string
	// tests as in the tables of fields.
	tests []string
	// never says why it cannot happen, or what the tests leave out.
	never string
}

// wrongResults of the original.
func wrongResults() map[string]answer {
	const (
		helm     = "operator/helm: "
		release  = "operator/release: "
		control  = "operator/controller: "
		e2e      = "services/e2e: "
		upstream = "chartcache/upstream: "
		catalog  = "chartcache/catalog: "
		blob     = "chartcache/blob: "
		source   = "services/chartcache/source: "
		here     = "services/internal/fieldproof: "
	)
	return map[string]answer{
		"A1": {was: "objects land in the operator's namespace", tests: []string{
			e2e + "TestAReleaseFromAnHTTPRepositoryLandsInItsNamespace", control + "TestAReleaseIsInstalledIntoItsNamespaceUpgradedAndUninstalled",
		}},
		"A2": {was: "switches that are on by default cannot be turned off", tests: []string{
			control + "TestWhatIsOnByDefaultCanBeTurnedOff", e2e + "TestWaitFalseStaysFalse", release + "TestEveryOptionArrives",
		}},
		"A3": {was: "a failed install is Ready at the next look", tests: []string{
			e2e + "TestAFailedInstallIsNeverReadyAndIsMendedByAnEdit", control + "TestAFailedInstallIsNeverReady",
			release + "TestAFailedInstallIsNeverReadyAndIsUpgradedOver", release + "TestConditionsSayWhatIsSoNowAndNothingOfWhatIsOver",
			release + "TestNothingIsReadyWhoseNewestRevisionIsNotDeployed",
		}},
		"A4": {was: "any error rolls a good release back, again and again", tests: []string{
			release + "TestAnUpgradeThatCannotBeDownloadedIsNotRolledBack", release + "TestAFailedUpgradeIsRolledBackAndHeld",
			release + "TestAnUpgradeThatFailsBeforeItHasARevisionIsNotRolledBack",
			release + "TestTheRevisionToRollBackToIsTheNewestGoodOne", release + "TestTheRevisionToRollBackTo", helm + "TestHistoryIsBounded",
			e2e + "TestABadUpgradeIsRolledBackAndHeldUntilTheSpecIsMended",
		}},
		"A5": {was: "some values and versions are upgraded without end", tests: []string{
			e2e + "TestNoFormOfValuesOrVersionsIsUpgradedAgainAndAgain", release + "TestChangedValuesUpgradeAndEqualOnesDoNot",
			"operator/values: TestDigestTakesEqualValuesForEqual", control + "TestAnUnchangedReleaseIsWrittenNoMore",
		}},
		"A6": {was: "releases from registries crash or have no credentials", tests: []string{
			e2e + "TestReleasesFromARegistryWorkByReferenceAndByURL", e2e + "TestEveryFormOfAVersionMeansWhatItMeansToHelm",
			e2e + "TestPrivateRepositoriesOpenWithTheKeyOfNowOnly", e2e + "TestAReleaseThatNamesAURLUsesThePrivateRepositoriesOfItsOwnNamespaceOnly",
			upstream + "TestRegistryAuthentication", e2e + "TestEveryFieldOfARepositoryMayBeEditedInPlace",
		}},
		"A7": {was: "newer versions never arrive, and latest never installs", tests: []string{
			e2e + "TestANewerMatchingVersionArrivesByItself", e2e + "TestEveryFormOfAVersionMeansWhatItMeansToHelm",
			e2e + "TestNoFormOfValuesOrVersionsIsUpgradedAgainAndAgain",
		}},
		"A8": {was: "conditions stay when they are over, and Ready stays True", tests: []string{
			release + "TestConditionsSayWhatIsSoNowAndNothingOfWhatIsOver", control + "TestConditionsOfARepositorySayWhatIsSoNow",
			e2e + "TestAFailedInstallIsNeverReadyAndIsMendedByAnEdit", control + "TestARepositoryThatFailsSaysWhyAndRecovers",
		}},
		"A9": {was: "failed uninstalls are taken for done, by the names of the spec", tests: []string{
			release + "TestAFailedUninstallKeepsTheObjectAndSaysHowToLeave", release + "TestADeletedReleaseIsUninstalledByTheNamesOfItsStatus",
			helm + "TestUninstallKeepsTheRecordWhileObjectsStay",
		}},
		"A10": {was: "releases of others are taken", tests: []string{
			e2e + "TestAForeignHelmReleaseIsRefusedAndTakenOverWhenAllowed", e2e + "TestASecondHelmReleaseOfOneHelmReleaseIsRefusedUntilTheFirstIsGone",
		}},
		"A11": {was: "another source is not noticed, another name leaves the old release behind", tests: []string{
			release + "TestAnotherSourceIsAnotherChartThoughItsNameAndVersionStay", release + "TestTheChartThatTheSpecNamesIsAskedFor",
			e2e + "TestARenamedReleaseIsRefusedReinstalledOrLeftBehindByPolicy",
		}},
		"A12": {was: "drift is neither found nor corrected", tests: []string{
			e2e + "TestWhatIsDeletedOrEditedByHandIsReportedAndThenCorrected",
		}},
		"A13": {was: "what a crash leaves pending stays so", tests: []string{
			e2e + "TestAnOperatorKilledDuringAnInstallGoesOnAfterItsRestart", e2e + "TestSurvivesAKillAtAnyPoint",
			e2e + "TestAnOperatorStoppedDuringAnInstallStopsInTimeAndGoesOn", e2e + "TestSurvivesAShutdownAtAnyPoint",
		}},
		"A14": {was: "errors are told apart by their text", tests: []string{
			release + "TestAnErrorIsNotTakenForTheAbsenceOfARelease", helm + "TestAnErrorOfTheAPIServerIsNotTakenForTheAbsenceOfARelease",
			here + "TestNoErrorIsToldApartByItsText",
		}, never: "whether to install or to upgrade follows from what storage holds, not from an error"},
		"A15": {was: "an index without dates makes the status invalid", tests: []string{control + "TestARepositoryShowsWhatChartcacheHas"}},
		"A16": {was: "ConfigMaps of different charts collide, or cannot be made", tests: []string{
			"operator/valuesmap: TestTwoChartsOfANamespaceNeverHaveTheSameName", "operator/valuesmap: TestLabelsAreValidAndAnnotationsExact",
			control + "TestAConfigMapOfSomebodyElseIsNeverOverwritten", e2e + "TestConfigMapsHoldTheDefaultValuesOfChartsAsThePolicySays",
		}},
		"A17": {was: "retention removes what is current, and a change of policy leaves the rest", tests: []string{
			control + "TestRetentionRemovesWhatIsNoLongerCurrentAndNeverTheCurrentOne", control + "TestAnotherPolicyRemovesWhatTheOneBeforeLeft",
		}},
		"A18": {was: "rotated Secrets and recovered repositories wake nobody", tests: []string{
			e2e + "TestPrivateRepositoriesOpenWithTheKeyOfNowOnly", e2e + "TestValuesOfARotatedSecretArriveAtOnce",
			control + "TestARepositoryThatAppearsWakesItsReleases", control + "TestARepositoryThatRecoversWakesItsReleases",
			source + "TestARotatedSecretIsUsedAtTheNextRead", catalog + "TestCredentialsAreReadAtEachSyncAndTheirErrorIsTheOutcome",
		}, never: "the Secret of a repository is not watched, since chartcache may not list Secrets: it is read at each sync and download, " +
			"and a repository that was refused is tried again by itself"},
		"A19": {was: "events with long errors are lost", tests: []string{
			control + "TestAnEventAboutALongErrorArrives", release + "TestLongTextsAreCutBetweenCharacters",
		}},
		"A20": {was: "a restart finds no repositories and rolls back", tests: []string{
			e2e + "TestARestartOfBothServicesChangesNothing", e2e + "TestSurvivesARestartOfBothServicesTogether",
			catalog + "TestARestartServesFromDiskBeforeAnySync", release + "TestAnUpgradeThatCannotBeDownloadedIsNotRolledBack",
		}},
		"A21": {was: "tarballs of one name overwrite each other, go while they are read, and are not verified", tests: []string{
			catalog + "TestBlobsAreSharedButAccessIsNot", blob + "TestWhatIsBeingReadIsNotEvictedUntilItIsClosed",
			catalog + "TestABadTarballIsNeverGivenOut", e2e + "TestPullGivesWhatHelmPullGives",
			e2e + "TestRepositoriesOfOneNameInTwoNamespacesAreStrangers",
		}},
		"A22": {was: "a limiter that is not set crashes, and releases are filtered by their namespace", tests: []string{
			upstream + "TestLimitsThatNobodySetAreTheDocumentedOnes", helm + "TestANameOfAReleaseIsNoPattern",
		}},
	}
}

// holes of the original.
func holes() map[string]answer {
	const (
		helm    = "operator/helm: "
		e2e     = "services/e2e: "
		source  = "services/chartcache/source: "
		catalog = "chartcache/catalog: "
		here    = "services/internal/fieldproof: "
		shipped = "services/internal/shipped: "
	)
	return map[string]answer{
		"B1": {was: "who may create a HelmRelease may do everything", tests: []string{
			helm + "TestObjectsAreWrittenAsAServiceAccount", helm + "TestAServiceAccountThatLacksARightNamesIt",
			helm + "TestLookupActsAsTheServiceAccount", e2e + "TestAnAccountThatLacksOneRightIsToldWhichAndMendedByGrantingIt",
			helm + "TestWithoutTheRoleForChartsAReleaseHasTheRightsOfItsAccountOnly",
			"operator/controller: TestThePolicyOfThePageRefusesReleasesWithoutAnAccount",
		}, never: "by default, charts may still hold anything, and so may those who write HelmReleases: an administrator who wants less takes " +
			"the role for charts away and has HelmReleases name accounts, as docs/identities.md says"},
		"B2": {was: "any Secret of the cluster is sent to any host", tests: []string{
			source + "TestAnObjectThatCannotWorkSaysWhatToEdit", source + "TestASecretOfAnotherNamespaceIsReadWhereAllowed",
			e2e + "TestASecretOfAnotherNamespaceIsUsedWhereTheAdministratorAllowsIt",
			"chartcache/upstream: TestCredentialsAreSentToTheRepositoryOnly",
		}},
		"B3": {was: "repositories of one name in two namespaces are one", tests: []string{
			e2e + "TestRepositoriesOfOneNameInTwoNamespacesAreStrangers",
			e2e + "TestAReleaseThatNamesAURLUsesThePrivateRepositoriesOfItsOwnNamespaceOnly", catalog + "TestBlobsAreSharedButAccessIsNot",
		}},
		"B4": {was: "credentials are in a file, and values in the status", tests: []string{
			catalog + "TestNoCredentialIsEverOnDisk", e2e + "TestAFleetOfTheOriginalIsTakenOverAsItIs",
			"operator/release: TestNoValueIsInAStatusAndNoStatusGrowsWithThem", "operator/drift: TestValuesOfSecretsAreNeverShown",
		}, never: "the password in the spec stays for compatibility; auth.basic.secretRef is there instead"},
		"B5": {was: "a repository names any file of the pod, and plugins of Helm run", tests: []string{
			source + "TestFilesOutsideTheAllowedFolderAreRefused", e2e + "TestCredentialsInFilesAreReadBelowTheAllowedFolderOnly",
			"services/chartcache: TestThereIsNoHelmInChartcache", here + "TestNothingOfHelmThatFetchesChartsOrRunsPluginsIsUsed",
			"chartcache/index: TestAnAnswerThatIsNoIndexIsNotQuoted", shipped + "TestEachPortAdmitsThoseWhoNeedItAndNobodyElse",
		}, never: "a URL may name any host that chartcache's Pod reaches, whose answer is an index, a chart, or an error that quotes nothing of " +
			"it; to bound the hosts takes a NetworkPolicy of the cluster's own, of which docs/installing.md has an example"},
		"B6": {was: "images run as root and are refused by the restricted profile", tests: []string{
			e2e + "TestPodsOfBothServicesAreAllowedWhereTheRestrictedProfileIsEnforced",
		}},
		"B7": {was: "indexes and tarballs of any size are read", tests: []string{
			"chartcache/upstream: TestReadingTheIndexClassifiesErrors", "chartcache/upstream: TestReadingATarballClassifiesErrors",
			"chartcache/upstream: TestListingIsBounded", "chartcache/index: TestLittleTextCannotTakeMuchMemory",
			"chartcache/index: TestAliasesCannotMakeMuchOfLittle", "chartcache/index: TestAnIndexOf200MBTakesNoMoreMemoryThanASmallOne",
			"chartcache/blob: TestInspectChart", catalog + "TestHostileTarballsAreRefusedAndNothingOfThemStays",
		}},
		"B8": {was: "webhooks without a server block the API", tests: []string{e2e + "TestNothingThatIsShippedStandsInTheWayOfTheAPI"}},
	}
}

// waste of the original.
func waste() map[string]answer {
	const (
		release  = "operator/release: "
		control  = "operator/controller: "
		catalog  = "chartcache/catalog: "
		upstream = "chartcache/upstream: "
		operator = "services/operator: "
	)
	return map[string]answer{
		"C1": {was: "one release that waits holds up all others", tests: []string{
			control + "TestReleasesThatWaitHoldUpNoOther", release + "TestOperationsThatOnlyWaitKeepNobodyFromWorking",
			control + "TestANewerSpecDoesNotWaitForAnOldTimeout",
		}},
		"C2": {was: "every status write is a reason to look again", tests: []string{
			control + "TestOurOwnWritesAreNoReasonToLookAgain", control + "TestAnUnchangedReleaseIsWrittenNoMore",
			"services/e2e: TestNoFormOfValuesOrVersionsIsUpgradedAgainAndAgain",
		}},
		"C3": {was: "an index is read again for every chart, changed or not", tests: []string{
			upstream + "TestAnUnchangedIndexIsNotRead", catalog + "TestAnUnchangedRepositoryIsNotReadAgain",
			control + "TestALargeRepositoryIsReadOnceAndWhatDidNotChangeIsNotReadAgain",
			"chartcache/index: TestAnIndexOf200MBTakesNoMoreMemoryThanASmallOne",
		}},
		"C4": {was: "all charts and values are in the status", tests: []string{
			control + "TestTheListOfChartsIsBounded", release + "TestNoValueIsInAStatusAndNoStatusGrowsWithThem",
			"services/e2e: TestAFleetOfTheOriginalIsTakenOverAsItIs",
		}},
		"C5": {was: "all ConfigMaps and Secrets of the cluster are kept in memory", tests: []string{
			operator + "TestReadingOneSecretOrConfigMapKeepsNoneInMemory", operator + "TestACachedObjectLosesWhatNobodyReads",
			operator + "TestOfConfigMapsOnlyOurOwnAreKeptWithMoreThanTheirName",
			"services/chartcache/source: TestSecretsAreReadOneByOne",
		}},
		"C6": {was: "each look reads and decodes all revisions", tests: []string{
			release + "TestALookAtWhatIsInOrderCostsOneQuestionToChartcache", release + "TestStorageIsReadOnlyWhenItMayHoldSomethingElse",
			"operator/helm: TestALookReadsTheLabelsOfAllRevisionsAndTheContentOfOne", control + "TestAnUnchangedReleaseIsWrittenNoMore",
		}},
		"C7": {was: "charts are downloaded each time, and files are written in place", tests: []string{
			catalog + "TestFiveHundredClientsForOneChartAreOneRequest", "chartcache/blob: TestEvictionTakesWhatWasUsedLeastRecently",
			"chartcache/internal/disk: TestAFaultAtAnyStepLeavesTheOldOrTheNewContentAndNoTemporaryFile",
			catalog + "TestKilledAtAnyStepOfAnIngestLosesNothing",
		}},
		"C8": {was: "all failures are tried again every five minutes", tests: []string{
			release + "TestTheBackOffDoublesUpToItsBound", release + "TestFailuresAreRetriedAsTheSpecSays",
			catalog + "TestRateLimitsAreHonouredForTheWholeHost", catalog + "TestDelaysAreJittered",
		}},
		"C9": {was: "the name of a ConfigMap takes quadratic time", never: "a name is made in one pass over the names of chart and version"},
	}
}

func TestEverythingThatWasWrongInTheOriginalHasATestOrCannotHappen(t *testing.T) {
	t.Parallel()
	for part, expected := range map[string]struct {
		answers map[string]answer
		count   int
	}{"A": {wrongResults(), 22}, "B": {holes(), 8}, "C": {waste(), 9}} {
		require.Len(t, expected.answers, expected.count)
		proofs := map[string][]string{}
		for n := range expected.count {
			name := fmt.Sprintf("%s%d", part, n+1)
			a, known := expected.answers[name]
			require.True(t, known, name)
			assert.NotEmpty(t, a.was, name)
			assert.True(t, len(a.tests) > 0 || a.never != "", "%s has neither a test nor a reason why it cannot happen", name)
			assert.Len(t, slices.Compact(slices.Sorted(slices.Values(a.tests))), len(a.tests), "%s names a test twice", name)
			proofs[name] = a.tests
		}
		findings, err := Missing(root, "item", proofs)
		require.NoError(t, err)
		assert.Empty(t, findings)
	}
}
