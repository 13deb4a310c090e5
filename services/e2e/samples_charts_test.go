package e2e

// sampleChart is a chart in the shape that the samples want one: its objects have its own name, whatever the release is called.
func sampleChart(name, version string) chart {
	return chart{name: name, version: version, files: map[string]string{
		"values.yaml": "replicas: 1\nmessage: hello\ndatabase: {password: \"\"}\n",
		"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Chart.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {app: {{ .Chart.Name }}}
  template:
    metadata:
      labels: {app: {{ .Chart.Name }}}
    spec:
      containers:
        - name: {{ .Chart.Name }}
          image: example.com/{{ .Chart.Name }}:1.0
`,
		"templates/service.yaml": `apiVersion: v1
kind: Service
metadata:
  name: {{ .Chart.Name }}-public
spec:
  selector: {app: {{ .Chart.Name }}}
  ports: [{port: 80}]
`,
		"templates/configmap.yaml": `apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Chart.Name }}
data:
  message: {{ .Values.message | quote }}
`,
		"templates/secret.yaml": `apiVersion: v1
kind: Secret
metadata:
  name: {{ .Chart.Name }}
stringData:
  password: {{ .Values.database.password | quote }}
`,
		"templates/smoke.yaml": testPod("smoke", "well"),
		"templates/load.yaml":  testPod("load", "fail"),
	}}
}

// testPod is a test of a chart that ends as told.
func testPod(name, outcome string) string {
	return `apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Name }}-` + name + `
  annotations: {helm.sh/hook: test, local.ketches.cn/outcome: ` + outcome + `}
spec:
  restartPolicy: Never
  containers: [{name: test, image: example.com/test:1.0}]
`
}

// widgetsChart brings a definition and an object of its kind.
func widgetsChart() chart {
	return sampleChart("widgets", "1.0.0").with("crds/widgets.yaml", definition("samples.example.com", "Widget", "sample")).
		with("templates/widget.yaml", "apiVersion: samples.example.com/v1\nkind: Widget\nmetadata: {name: one}\n")
}
