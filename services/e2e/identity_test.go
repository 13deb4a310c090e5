package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// rights are what an account of these stories may do with the objects of the chart web, except some verbs on Services.
func rights(exceptOnServices ...string) []rbacv1.PolicyRule {
	verbs := []string{"get", "list", "watch", "create", "patch", "update", "delete"}
	var onServices []string
	for _, verb := range verbs {
		if !strings.Contains(" "+strings.Join(exceptOnServices, " ")+" ", " "+verb+" ") {
			onServices = append(onServices, verb)
		}
	}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: verbs},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments", "replicasets"}, Verbs: verbs},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: onServices},
	}
}

// account makes a ServiceAccount with rights in the namespace of the story, and nowhere else.
func (s *story) account(name string, rules []rbacv1.PolicyRule) *rbacv1.Role {
	s.Helper()
	require.NoError(s, s.Create(s.ctx, &corev1.ServiceAccount{ObjectMeta: s.meta(name)}))
	role := &rbacv1.Role{ObjectMeta: s.meta(name), Rules: rules}
	require.NoError(s, s.Create(s.ctx, role))
	require.NoError(s, s.Create(s.ctx, &rbacv1.RoleBinding{
		ObjectMeta: s.meta(name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: name}},
	}))
	return role
}

// allow changes the rights of an account and waits until the API server knows.
func (s *story) allow(role *rbacv1.Role, verb string, allowed bool, rules []rbacv1.PolicyRule) {
	s.Helper()
	role.Rules = rules
	require.NoError(s, s.Update(s.ctx, role))
	require.Eventually(s, func() bool {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:" + s.namespace + ":" + role.Name,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: s.namespace, Verb: verb, Resource: "services"},
		}}
		require.NoError(s, s.Create(s.ctx, review))
		return review.Status.Allowed == allowed
	}, patience, 50*time.Millisecond)
}

// lacks wants Ready to name what an account may not do.
func (s *story) lacks(reason, account, verb string) func(*v1alpha1.HelmRelease) error {
	return func(r *v1alpha1.HelmRelease) error {
		if err := notReady(reason)(r); err != nil {
			return err
		}
		message := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady).Message
		want := fmt.Sprintf(`User "system:serviceaccount:%s:%s" cannot %s resource "services" in API group "" in the namespace %q`,
			s.namespace, account, verb, s.namespace)
		if !strings.Contains(message, want) {
			return fmt.Errorf("the message is %q, want %q", message, want)
		}
		return nil
	}
}

func TestAnAccountThatLacksOneRightIsToldWhichAndMendedByGrantingIt(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	role := s.account("deployer", rights("create"))
	as := func(retry v1alpha1.Duration) func(*v1alpha1.HelmRelease) {
		return func(r *v1alpha1.HelmRelease) {
			r.Spec.ServiceAccountName = "deployer"
			r.Spec.Retry = &v1alpha1.RetrySpec{Interval: retry, MaxInterval: retry}
		}
	}
	s.apply(s.release("patient", as("2s")))
	s.apply(s.release("asked", as("1h")))
	s.until("patient", s.lacks(v1alpha1.ReasonInstallFailed, "deployer", "create"))
	release := s.until("asked", s.lacks(v1alpha1.ReasonInstallFailed, "deployer", "create"))
	assert.True(t, meta.IsStatusConditionFalse(release.Status.Conditions, v1alpha1.ConditionReleased))

	s.allow(role, "create", true, rights())
	s.until("patient", ready)
	assert.NoError(t, notReady(v1alpha1.ReasonInstallFailed)(s.get("asked")), "it has an hour to wait")
	s.edit("asked", func(r *v1alpha1.HelmRelease) { r.Annotations = map[string]string{v1alpha1.RetryAnnotation: "granted"} })
	s.until("asked", ready)
	s.deployment(s.namespace, "asked")

	// Another namespace is beyond the account, and an account that does not exist is named, too.
	other := newStory(t).namespace
	s.apply(s.release("elsewhere", as("1h"), func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = &v1alpha1.ReleaseTarget{Namespace: other}
	}))
	release = s.until("elsewhere", notReady(v1alpha1.ReasonInstallFailed))
	assert.Contains(t, meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message, `in the namespace "`+other+`"`)
	s.edit("elsewhere", func(r *v1alpha1.HelmRelease) { r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
	s.apply(s.release("nobody", func(r *v1alpha1.HelmRelease) { r.Spec.ServiceAccountName = "nobody" }))
	release = s.until("nobody", notReady(v1alpha1.ReasonConfigurationError))
	assert.Contains(t, meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message,
		"ServiceAccount "+s.namespace+"/nobody does not exist")
}

func TestDriftThatAnAccountMayNotReadIsSaid(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	role := s.account("deployer", rights())
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.ServiceAccountName = "deployer"
		r.Spec.DriftDetection = &v1alpha1.DriftDetection{Mode: v1alpha1.DriftCorrect}
	}))
	s.until("app", drifted(metav1.ConditionFalse, v1alpha1.ReasonNoDrift))

	s.allow(role, "get", false, rights("get"))
	require.NoError(t, s.Delete(s.ctx, &corev1.ConfigMap{ObjectMeta: s.meta("app")}))
	s.look("app", "without the right")
	release := s.until("app", drifted(metav1.ConditionUnknown, v1alpha1.ReasonDriftUnknown))
	message := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionDrifted).Message
	assert.Contains(t, message, "1 object could not be compared: Service "+s.namespace+"/app")
	assert.Contains(t, message, "no right to get it")
	assert.Equal(t, "hello", s.message("app"), "what can be compared is corrected")

	s.allow(role, "get", true, rights())
	s.look("app", "with it")
	s.until("app", drifted(metav1.ConditionFalse, v1alpha1.ReasonNoDrift))
}
