package main

import (
	"errors"
	"fmt"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/credentials"

	"github.com/ketches/helm-operator/services/internal/tlsfiles"
)

// tlsOptions are the flags that secure the gRPC server.
type tlsOptions struct{ files tlsfiles.Files }

func (o *tlsOptions) addFlags(set *pflag.FlagSet) {
	set.StringVar(&o.files.Cert, "tls-cert-file", "", "PEM file with the certificate of the gRPC server, and those between it and its authority. With it, gRPC is served by TLS only. The three TLS files are read again when they change.")
	set.StringVar(&o.files.Key, "tls-key-file", "", "PEM file with the private key of --tls-cert-file.")
	set.StringVar(&o.files.CA, "client-ca-file", "", "PEM file with certificates of authorities: clients need a certificate of one of them. Without it, everybody who reaches the port gets the charts of private repositories, by TLS as well.")
}

// enabled reports whether TLS is asked for.
func (o *tlsOptions) enabled() bool { return o.files.Cert != "" }

// check says what is wrong with the flags.
func (o *tlsOptions) check() error {
	switch {
	case (o.files.Cert == "") != (o.files.Key == ""):
		return errors.New("--tls-cert-file and --tls-key-file need each other")
	case o.files.CA != "" && !o.enabled():
		return errors.New("--client-ca-file needs --tls-cert-file and --tls-key-file: without TLS, clients show no certificate")
	default:
		return nil
	}
}

// server returns the credentials of the server; nil for plaintext.
func (o *tlsOptions) server(log zerolog.Logger) (credentials.TransportCredentials, error) {
	if !o.enabled() {
		return nil, nil
	}
	creds, err := tlsfiles.Server(o.files, log)
	if err != nil {
		return nil, fmt.Errorf("use --tls-cert-file, --tls-key-file and --client-ca-file: %w", err)
	}
	return creds, nil
}
