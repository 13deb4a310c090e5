package kube

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Access is who reaches which API server: by certificate or by token.
type Access struct {
	// Server is the URL of the API server; CA its certificate authority in PEM.
	Server string
	CA     []byte
	// Certificate and Key are a client certificate in PEM.
	Certificate, Key []byte
	// Token is a bearer token.
	Token string
	// Namespace is the default namespace. Default: default.
	Namespace string
}

// WriteKubeconfig writes a kubeconfig that needs no other file, readable by its owner only.
func WriteKubeconfig(path string, access Access) error {
	const name = "local"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: access.Server, CertificateAuthorityData: access.CA}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: access.Certificate, ClientKeyData: access.Key, Token: access.Token,
	}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: access.Namespace}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// LoadKubeconfig reads a kubeconfig.
func LoadKubeconfig(path string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("load kubeconfig: %w", err)
	}
	return config, nil
}
