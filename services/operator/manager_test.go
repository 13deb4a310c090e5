package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
)

func TestOfConfigMapsOnlyOurOwnAreKeptWithMoreThanTheirName(t *testing.T) {
	t.Parallel()
	owner := []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "HelmRepository", Name: "charts", UID: "1"}}
	chart := valuesmap.Chart{Name: "web", Version: "1.0.0"}
	object := func(labels map[string]string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "a", UID: "2", ResourceVersion: "3", Labels: labels, OwnerReferences: owner,
			Annotations:   valuesmap.Annotations("charts", chart, "sha256:1"),
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		}}
	}
	kept, err := stripMetadata(object(valuesmap.Labels("charts", chart)))
	require.NoError(t, err)
	want := object(valuesmap.Labels("charts", chart))
	want.ManagedFields = nil
	assert.Equal(t, want, kept)

	stripped, err := stripMetadata(object(map[string]string{"app": "web"}))
	require.NoError(t, err)
	assert.Equal(t, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "a", UID: "2", ResourceVersion: "3", Labels: map[string]string{},
	}}, stripped)
}
