package helm

import (
	"bytes"
	"fmt"
	"maps"
	"time"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/kube"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/ketches/helm-operator/operator/internal/readiness"
)

// CRDPolicy says what is done with the definitions in the crds/ folders of a chart.
type CRDPolicy string

// Policies for definitions. The zero value is what Helm does: an install creates those that are missing, an upgrade leaves them.
const (
	// CRDsSkip leaves them out.
	CRDsSkip CRDPolicy = "Skip"
	// CRDsCreate creates those that are missing.
	CRDsCreate CRDPolicy = "Create"
	// CRDsCreateReplace also replaces those that are there, and so may lose versions that objects are stored in.
	CRDsCreateReplace CRDPolicy = "CreateReplace"
)

// establishTimeout bounds the wait until the API server serves new definitions, which takes it some seconds.
const establishTimeout = time.Minute

const kindCRD = "CustomResourceDefinition"

// applyCRDs creates the definitions of a chart and of those of its subcharts that the values enable, and replaces them if it is
// told to. It waits until they are served. Other objects of the crds/ folders, which Helm would create too, are left out.
func (op *operation) applyCRDs(source ChartSource, values map[string]any, replace bool) error {
	chrt, err := loadChart(source) // one of its own: choosing dependencies changes a chart
	if err != nil {
		return err
	}
	if err := chartutil.ProcessDependenciesWithMerge(chrt, copyValues(values)); err != nil {
		return newError(StageValidate, err, "%s", op.mask.text(describe(err)))
	}
	definitions, err := op.definitionsOf(chrt)
	if err != nil || len(definitions) == 0 {
		return err
	}
	for _, info := range definitions {
		if err := op.applyCRD(info, replace); err != nil {
			return op.error(op.failed(StageApply, fmt.Errorf("%s: %w", objectName(info), err)), 0)
		}
	}
	err = op.who.hub.Wait(op.ctx, waitedFor(definitions), readiness.GoalReady, op.waitOptions(establishTimeout))
	switch {
	case op.ctx.Err() != nil && err != nil:
		return op.error(op.interrupt(), 0)
	case err != nil:
		return op.error(op.failed(StageWait, err), 0)
	}
	// There are kinds now that nobody knew.
	op.client.discovery.Invalidate()
	meta.MaybeResetRESTMapper(op.client.mapper)
	op.client.caps.forget()
	return nil
}

// definitionsOf reads the crds/ folders of a chart.
func (op *operation) definitionsOf(chrt *chart.Chart) (kube.ResourceList, error) {
	var definitions kube.ResourceList
	for _, file := range chrt.CRDObjects() {
		infos, err := op.kube.Build(bytes.NewReader(file.File.Data), false)
		if err != nil {
			return nil, op.error(fmt.Errorf("read %s: %w", file.Filename, err), 0)
		}
		for _, info := range infos {
			if info.Mapping.GroupVersionKind.Kind == kindCRD {
				definitions = append(definitions, info)
			} else {
				op.log.Info("An object in a crds/ folder that is no definition is left out", "file", file.Filename, "object", objectName(info))
			}
		}
	}
	return definitions, nil
}

// applyCRD creates a definition, or replaces it. Labels and annotations that others added stay.
func (op *operation) applyCRD(info *resource.Info, replace bool) error {
	if err := op.refused(); err != nil {
		return err
	}
	helper := resource.NewHelper(info.Client, info.Mapping).WithFieldManager(fieldManager())
	live, err := helper.Get("", info.Name)
	switch {
	case apierrors.IsNotFound(err):
		made, err := helper.Create("", true, info.Object)
		if err == nil {
			err = info.Refresh(made, true)
		}
		return err
	case err != nil:
		return err
	case !replace:
		return info.Refresh(live, true)
	}
	if err := keepMetadata(info, live); err != nil {
		return err
	}
	replaced, err := helper.Replace("", info.Name, true, info.Object)
	if err == nil {
		err = info.Refresh(replaced, true)
	}
	return err
}

// keepMetadata adds the labels and annotations of the live object that the wanted one lacks.
func keepMetadata(info *resource.Info, live any) error {
	have, err := meta.Accessor(live)
	if err != nil {
		return err
	}
	want, err := meta.Accessor(info.Object)
	if err != nil {
		return err
	}
	want.SetLabels(merged(have.GetLabels(), want.GetLabels()))
	want.SetAnnotations(merged(have.GetAnnotations(), want.GetAnnotations()))
	return nil
}

// merged returns the entries of both; those of over win.
func merged(under, over map[string]string) map[string]string {
	out := maps.Clone(under)
	if out == nil {
		return over
	}
	maps.Copy(out, over)
	return out
}
