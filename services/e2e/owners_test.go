package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// The stories of this file are about whom a Helm release belongs to.

// claim is a HelmRelease of the Helm release shop that says its own name.
func (s *story) claim(name string, edits ...func(*v1alpha1.HelmRelease)) *v1alpha1.HelmRelease {
	return s.release(name, append([]func(*v1alpha1.HelmRelease){func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "shop"}
		r.Spec.Values = v1alpha1.ValuesFromString("message: of " + name)
	}}, edits...)...)
}

// refused wants Ready=False for the reason that the Helm release is not this HelmRelease's, with some words.
func refused(words string) func(*v1alpha1.HelmRelease) error {
	return func(release *v1alpha1.HelmRelease) error {
		if err := notReady(v1alpha1.ReasonConfigurationError)(release); err != nil {
			return err
		}
		message := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message
		if !strings.Contains(message, words) {
			return fmt.Errorf("Ready says %q, want %q", message, words)
		}
		if release.Status.HelmRelease != nil {
			return fmt.Errorf("it takes %+v for its own", release.Status.HelmRelease)
		}
		return nil
	}
}

func TestASecondHelmReleaseOfOneHelmReleaseIsRefusedUntilTheFirstIsGone(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	one := s.apply(s.claim("one"))
	before := s.until("one", atRevision(1))

	two := s.apply(s.claim("two"))
	s.until("two", refused(fmt.Sprintf("belongs to the HelmRelease %s/one; two cannot own one", s.namespace)))
	s.edit("two", func(r *v1alpha1.HelmRelease) {
		r.Spec.Release.Adopt = v1alpha1.AdoptAlways // not even then
	})
	s.until("two", refused("belongs to the HelmRelease"))
	three := s.apply(s.claim("three"))
	s.until("three", refused("belongs to the HelmRelease"))
	require.NoError(t, s.Delete(s.ctx, three))
	s.gone(three)
	assert.Equal(t, "of one", s.message("shop"))
	assert.Equal(t, before.Status, s.get("one").Status, "the first is left alone")
	assert.Len(t, s.history("shop"), 1)

	require.NoError(t, s.Delete(s.ctx, one))
	s.gone(one)
	s.until("two", atRevision(1))
	assert.Equal(t, "of two", s.message("shop"), "the second takes the place")

	// What is left behind belongs to nobody.
	s.apply(s.claim("four"))
	s.until("four", refused(fmt.Sprintf("belongs to the HelmRelease %s/two", s.namespace)))
	s.edit("two", func(r *v1alpha1.HelmRelease) { r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
	require.NoError(t, s.Delete(s.ctx, two))
	s.gone(two)
	s.until("four", refused("set release.adopt to Always"))
	assert.Equal(t, "of two", s.message("shop"))
	s.edit("four", func(r *v1alpha1.HelmRelease) { r.Spec.Release.Adopt = v1alpha1.AdoptAlways })
	s.until("four", atRevision(2))
	assert.Equal(t, "of four", s.message("shop"))
}

func TestOfTwoHelmReleasesThatClaimOneHelmReleaseAtOnceOneIsRefused(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	often := func(r *v1alpha1.HelmRelease) { r.Spec.Retry = &v1alpha1.RetrySpec{Interval: "1s"} }
	s.apply(s.claim("one", often)) // they wait for the repository and start together
	s.apply(s.claim("two", often))
	s.until("one", notReady(v1alpha1.ReasonRepositoryNotFound))
	s.until("two", notReady(v1alpha1.ReasonRepositoryNotFound))
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)

	var first, second string
	require.Eventually(t, func() bool {
		for _, names := range [][2]string{{"one", "two"}, {"two", "one"}} {
			if atRevision(1)(s.get(names[0])) == nil {
				first, second = names[0], names[1]
				return true
			}
		}
		return false
	}, patience, 50*time.Millisecond)
	s.until(second, refused("belongs to the HelmRelease "+s.namespace+"/"+first))
	assert.Equal(t, "of "+first, s.message("shop"))

	require.NoError(t, s.Delete(s.ctx, s.claim(first)))
	s.until(second, atRevision(1))
	assert.Equal(t, "of "+second, s.message("shop"))
}

func TestAForeignHelmReleaseIsRefusedAndTakenOverWhenAllowed(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.helm("install", "same", s.packaged(webChart("1.0.0")))
	s.helm("install", "other", s.packaged(webChart("1.0.0")), "--set", "message=theirs")
	for _, name := range []string{"same", "other"} {
		release := s.apply(s.release(name))
		s.until(name, refused("set release.adopt to Always to take it over"))
		require.NoError(t, s.Delete(s.ctx, release))
		s.gone(release)
		assert.Equal(t, "deployed", s.history(name)[0].Status, "what was refused is not uninstalled")
		s.apply(s.release(name))
		s.until(name, refused("set release.adopt to Always to take it over"))
	}
	assert.Equal(t, "theirs", s.message("other"))

	for _, name := range []string{"same", "other"} {
		s.edit(name, func(r *v1alpha1.HelmRelease) { r.Spec.Release = &v1alpha1.ReleaseTarget{Adopt: v1alpha1.AdoptAlways} })
	}
	s.until("same", atRevision(1))
	s.until("other", atRevision(2))
	assert.Len(t, s.history("same"), 1, "what is as it should be is not upgraded")
	assert.Equal(t, "hello", s.message("other"))

	for _, name := range []string{"same", "other"} {
		release := s.get(name)
		require.NoError(t, s.Delete(s.ctx, release))
		s.gone(release)
		s.gone(&corev1.ConfigMap{ObjectMeta: s.meta(name)})
	}
	assert.NoError(t, s.noRecords())
}

// noRecords returns an error unless the namespace of the story is without records of Helm releases.
func (s *story) noRecords() error {
	records := &corev1.SecretList{}
	if err := s.List(s.ctx, records, client.InNamespace(s.namespace), client.MatchingLabels{"owner": "helm"}); err != nil {
		return err
	}
	if len(records.Items) > 0 {
		return errors.New("record " + records.Items[0].Name + " is left")
	}
	return nil
}
