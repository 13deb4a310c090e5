package controller

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
)

func TestACopyOfAConfigMapWithValuesUnderAnotherNameIsWhoseCopyItIs(t *testing.T) {
	t.Parallel()
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "helm-values-charts-web-1-0-0",
		Labels: valuesmap.Labels("charts", valuesmap.Chart{Name: "web", Version: "1.0.0"}),
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: kindRepository, Name: "charts", UID: "1", Controller: ptr.To(true),
		}},
	}}
	_, ours := ownerOfValues(made)
	assert.True(t, ours)
	copied := made.DeepCopy()
	copied.Name = "web-values"
	_, ours = ownerOfValues(copied)
	assert.False(t, ours)
}
