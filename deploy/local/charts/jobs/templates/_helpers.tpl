{{- define "jobs.labels" -}}
app.kubernetes.io/name: jobs
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "jobs.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
{{- end -}}

{{- /* A Pod that does one thing and ends. Arguments: root, command, outcome. */ -}}
{{- define "jobs.once" -}}
metadata:
  labels: {{- include "jobs.labels" .root | nindent 4 }}
  {{- with .outcome }}
  annotations:
    local.ketches.cn/outcome: {{ . }}
  {{- end }}
spec:
  restartPolicy: Never
  containers:
    - name: once
      image: {{ include "jobs.image" .root }}
      args: {{ toJson .command }}
{{- end -}}
