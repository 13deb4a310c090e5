module github.com/ketches/helm-operator/tools/arrows

go 1.26.0
