package controller

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestReconcilesAreCountedByTheirOutcomeAndTheirErrorsByKind(t *testing.T) {
	t.Parallel()
	registry, now := prometheus.NewRegistry(), time.Unix(0, 0)
	metrics, err := newReconcileMetrics(registry, func() time.Time { return now })
	require.NoError(t, err)
	object := schema.GroupResource{Resource: "helmreleases"}
	outcomes := []error{
		nil, nil,
		apierrors.NewForbidden(object, "app", errors.New("no right")), apierrors.NewNotFound(object, "app"),
		apierrors.NewBadRequest("wrong"), context.DeadlineExceeded, errors.New("connection refused"),
		apierrors.NewConflict(object, "app", errors.New("changed")),
	}
	for _, outcome := range outcomes {
		measured := metrics.measure("helmrelease", reconcile.Func(func(context.Context, ctrl.Request) (ctrl.Result, error) {
			now = now.Add(250 * time.Millisecond)
			return ctrl.Result{}, outcome
		}))
		_, err := measured.Reconcile(t.Context(), ctrl.Request{})
		assert.Equal(t, outcome, err)
	}
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP helm_operator_reconcile_duration_seconds How long reconciles took.
# TYPE helm_operator_reconcile_duration_seconds histogram
helm_operator_reconcile_duration_seconds_bucket{controller="helmrelease",le="0.01"} 0
helm_operator_reconcile_duration_seconds_bucket{controller="helmrelease",le="0.05"} 0
helm_operator_reconcile_duration_seconds_bucket{controller="helmrelease",le="0.1"} 0
helm_operator_reconcile_duration_seconds_bucket{controller="helmrelease",le="0.5"} 8
helm_operator_reconcile_duration_seconds_bucket{controller="helmrelease",le="1"} 8
helm_operator_reconcile_duration_seconds_bucket{controller="helmrelease",le="5"} 8
helm_operator_reconcile_duration_seconds_bucket{controller="helmrelease",le="10"} 8
helm_operator_reconcile_duration_seconds_bucket{controller="helmrelease",le="+Inf"} 8
helm_operator_reconcile_duration_seconds_sum{controller="helmrelease"} 2
helm_operator_reconcile_duration_seconds_count{controller="helmrelease"} 8
# HELP helm_operator_reconcile_errors_total Reconciles that failed, by kind of error.
# TYPE helm_operator_reconcile_errors_total counter
helm_operator_reconcile_errors_total{controller="helmrelease",error_type="Auth"} 1
helm_operator_reconcile_errors_total{controller="helmrelease",error_type="Network"} 1
helm_operator_reconcile_errors_total{controller="helmrelease",error_type="NotFound"} 1
helm_operator_reconcile_errors_total{controller="helmrelease",error_type="Timeout"} 1
helm_operator_reconcile_errors_total{controller="helmrelease",error_type="Unknown"} 1
helm_operator_reconcile_errors_total{controller="helmrelease",error_type="Validation"} 1
# HELP helm_operator_reconcile_total Reconciles, by outcome.
# TYPE helm_operator_reconcile_total counter
helm_operator_reconcile_total{controller="helmrelease",result="error"} 6
helm_operator_reconcile_total{controller="helmrelease",result="success"} 2
`)))
}
