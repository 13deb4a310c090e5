{{- define "type" -}}
{{- if markdownShouldRenderType . }}
### {{ .Name }}

{{ .Doc }}
{{- if .IsAlias }} A {{ markdownRenderTypeLink .UnderlyingType }}.{{ end }}
{{- range .Validation }} {{ template "rule" . }}.{{ end }}
{{- if .References }}

Of {{ range $i, $reference := .SortedReferences }}{{ if $i }}, {{ end }}{{ markdownRenderTypeLink $reference }}{{ end }}.
{{- end }}
{{ if .Members }}
| field | type | meaning | default | rules |
|---|---|---|---|---|
{{ range .Members -}}
| {{ .Name }} | {{ markdownRenderType .Type }} | {{ if eq .Name "metadata" }}As of every object of Kubernetes.{{ else }}{{ markdownRenderFieldDoc .Doc }}{{ end }} | {{ markdownRenderDefault .Default }} | {{ template "rules" .Validation }} |
{{ end -}}
{{ end -}}
{{- end -}}
{{- end -}}
{{- define "rules" -}}
{{- $between := "" -}}
{{- range . }}{{ if not (hasPrefix "Optional" .) }}{{ $between }}{{ template "rule" . }}{{ $between = "; " }}{{ end }}{{ end -}}
{{- end -}}
{{- define "rule" -}}{{ markdownRenderFieldDoc . }}{{- end -}}
