{{- define "gvList" -}}
# API

Every field of the kinds of `helm-operator.ketches.cn/v1alpha1`, from the comments in [operator/api](../operator/api); `make manifests`
writes this page. `kubectl explain helmrelease.spec` shows the same. [Releases](releases.md) tells how to use them.
{{ range . }}{{ template "gvDetails" . }}{{ end }}
{{- end -}}
