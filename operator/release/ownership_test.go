package release

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

func TestHistoryThatWasKeptIsInstalledOver(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.records[appTarget] = []helm.Release{{Name: "app", Namespace: "shop", Revision: 1, Status: helm.StatusUninstalled}}

	release := b.settle()

	assert.Equal(t, []string{"install"}, b.helm.done())
	assert.True(t, b.helm.installed.Replace)
	assert.Equal(t, 2, release.Status.HelmRelease.Revision)
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestAReleaseOfTheOriginalIsAdoptedWithoutAnUpgrade(t *testing.T) {
	t.Parallel()
	first := testTime.Add(-1000 * time.Hour)
	legacy := func(values map[string]any, version string) *bench {
		b := newBench(t, func(r *v1alpha1.HelmRelease) {
			r.Spec.Values = v1alpha1.ValuesFromString("replicas: 2")
			when := metav1.NewTime(first.Truncate(time.Second))
			r.Status.HelmRelease = &v1alpha1.HelmReleaseInfo{Name: "app", Namespace: "shop", Revision: 7, Status: "deployed", FirstDeployed: &when}
			r.Status.LastAppliedConfiguration = "replicas: 2"
		})
		b.helm.records[appTarget] = []helm.Release{{
			Name: "app", Namespace: "shop", Revision: 7, Status: helm.StatusDeployed, FirstDeployed: first.Add(300 * time.Millisecond),
			ChartName: "web", ChartVersion: version, Values: values,
		}}
		return b
	}

	b := legacy(map[string]any{"replicas": float64(2)}, "1.0.0")
	release := b.settle()
	assert.Empty(t, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.NotEmpty(t, release.Status.AppliedDigest)
	assert.Empty(t, release.Status.LastAppliedConfiguration, "values do not stay in the status")
	writes := b.objects.writes
	b.settle()
	assert.Equal(t, writes, b.objects.writes)

	b = legacy(map[string]any{"replicas": float64(3)}, "1.0.0")
	b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done(), "other values are another release")

	b = legacy(map[string]any{"replicas": float64(2)}, "0.9.0")
	b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done(), "another version is another release")
}

func TestReleasesOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.records[appTarget] = []helm.Release{{
		Name: "app", Namespace: "shop", Revision: 4, Status: helm.StatusDeployed, ChartName: "web", ChartVersion: "1.0.0",
	}}

	release := b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "release.adopt")
	assert.Nil(t, release.Status.HelmRelease, "a deletion must not remove it")

	b.objects.other = &types.NamespacedName{Namespace: "shop", Name: "twin"}
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Release = &v1alpha1.ReleaseTarget{Adopt: v1alpha1.AdoptAlways} })
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "shop/twin")
	assert.Empty(t, b.helm.done())

	b.objects.other = nil
	release = b.settle()
	assert.Empty(t, b.helm.done(), "it is adopted as it is")
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.Equal(t, 4, release.Status.HelmRelease.Revision)
}

func TestARenamedReleaseIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.done()
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "typo"} })

	release := b.settle()

	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "shop/app")
	assert.Equal(t, "app", release.Status.HelmRelease.Name)
	assert.Empty(t, b.helm.done())

	b.helm.records = map[Target][]helm.Release{} // somebody runs helm uninstall
	b.settle()
	assert.Equal(t, []string{"install"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}

func TestAReleaseThatIsGoneIsInstalledAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.records = map[Target][]helm.Release{}
	b.helm.done()

	b.settle()

	assert.Equal(t, []string{"install"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}

func TestThatSomebodyElseCameFirstIsNoFailure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		theirs helm.Release
		reason string
	}{
		"with a release": {helm.ErrNameInUse, helm.Release{Status: helm.StatusDeployed}, v1alpha1.ReasonConfigurationError},
		"with an operation that runs": {
			helm.ErrPending, helm.Release{Status: helm.StatusPendingInstall}, v1alpha1.ReasonConfigurationError,
		},
		"and is gone again": {helm.ErrNameInUse, helm.Release{}, v1alpha1.ReasonInstallCompleted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.helm.results = []result{{err: c.err, unwritten: true}}
			b.once()
			b.awaitWake()
			if c.theirs.Status != "" {
				c.theirs.Name, c.theirs.Namespace, c.theirs.Revision = appTarget.Name, appTarget.Namespace, 1
				b.helm.records[appTarget] = []helm.Release{c.theirs}
			}

			release := b.settle()
			assert.Equal(t, c.reason, b.condition(v1alpha1.ConditionReady).Reason)
			assert.Zero(t, release.Status.FailureCount)
			assert.Empty(t, release.Status.Failures)
			for _, event := range b.events.take() {
				assert.NotContains(t, event, v1alpha1.ReasonInstallFailed)
			}
		})
	}
}

func TestAnUninstallOfSomebodyElseHasItsTimeBeforeItIsFinished(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.Uninstall = &v1alpha1.UninstallSpec{Timeout: "3m"} })
	b.settle()
	b.helm.done()
	b.helm.records[appTarget][0].Status, b.helm.records[appTarget][0].Deleted = helm.StatusUninstalling, b.now

	b.settle()
	assert.Empty(t, b.helm.done(), "it would delete what is installed meanwhile")
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "another Helm operation works on shop/app (revision 1 is uninstalling)")

	b.now = b.now.Add(3*time.Minute + pendingMargin)
	b.settle()
	assert.Equal(t, []string{"uninstall shop/app", "install"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}

// Whoever runs Helm by hand does it on a machine of their own.
func TestClocksOfOthersDecideAboutNothing(t *testing.T) {
	t.Parallel()
	for name, theirs := range map[string]time.Duration{"late": -24 * time.Hour, "early": 24 * time.Hour} {
		for status, work := range map[helm.Status]string{helm.StatusPendingUpgrade: "unlock 2", helm.StatusUninstalling: "uninstall shop/app"} {
			t.Run(name+" "+string(status), func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				b.settle()
				b.helm.done()
				began := b.now.Add(theirs)
				b.helm.records[appTarget] = append(b.helm.records[appTarget], helm.Release{
					Name: "app", Namespace: "shop", Revision: 2, Status: status, FirstDeployed: b.now, LastDeployed: began, Deleted: began,
					Written: b.now, Labels: b.helm.records[appTarget][0].Labels,
				})
				b.settle()
				assert.Empty(t, b.helm.done(), "it has just begun")
				b.now = b.now.Add(12 * time.Minute)
				b.settle()
				done := b.helm.done()
				require.NotEmpty(t, done, "nor does it take for ever")
				assert.Equal(t, work, done[0])
			})
		}
	}
}

func TestAnAnnouncedInstallDoesNotClaimWhatSomebodyElseInstalled(t *testing.T) {
	t.Parallel()
	target := Target{Namespace: "default", Name: "app"}
	for status, want := range map[string]bool{"pending-install": false, "deployed": true} {
		p := &pass{draft: &v1alpha1.HelmRelease{}}
		p.draft.Status.HelmRelease = &v1alpha1.HelmReleaseInfo{Namespace: target.Namespace, Name: target.Name, Status: status}
		assert.Equal(t, want, p.statusNames(target, &helm.Release{}), status)
	}
}
