package tlsfiles

import (
	"fmt"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/credentials"
)

// FlagNames are the names of the flags of a client, without dashes.
type FlagNames struct{ CA, Cert, Key, ServerName string }

// ClientOptions are the flags that secure a client's connections to chartcache. Any of them turns TLS on.
type ClientOptions struct {
	// Names of the flags; set before AddFlags.
	Names FlagNames

	files      Files
	serverName string
}

// AddFlags adds the flags.
func (o *ClientOptions) AddFlags(set *pflag.FlagSet) {
	set.StringVar(&o.files.CA, o.Names.CA, "", "PEM file with the authorities that the certificate of chartcache may come from; without it, those of the system. This flag and the three below turn TLS on; their files are read again when they change.")
	set.StringVar(&o.files.Cert, o.Names.Cert, "", "PEM file with the certificate to show to chartcache, for one that asks.")
	set.StringVar(&o.files.Key, o.Names.Key, "", "PEM file with the private key of --"+o.Names.Cert+".")
	set.StringVar(&o.serverName, o.Names.ServerName, "", "Name that the certificate of chartcache must have; without it, the host of its address.")
}

// Enabled reports whether TLS is asked for.
func (o *ClientOptions) Enabled() bool { return o.files != Files{} || o.serverName != "" }

// Check says what is wrong with the flags.
func (o *ClientOptions) Check() error {
	if (o.files.Cert == "") != (o.files.Key == "") {
		return fmt.Errorf("--%s and --%s need each other", o.Names.Cert, o.Names.Key)
	}
	return nil
}

// Credentials returns the credentials of the client; nil for plaintext. log gets what is wrong with files that change later.
func (o *ClientOptions) Credentials(log zerolog.Logger) (credentials.TransportCredentials, error) {
	if !o.Enabled() {
		return nil, nil
	}
	creds, err := Client(o.files, o.serverName, log)
	if err != nil {
		return nil, fmt.Errorf("use --%s, --%s and --%s: %w", o.Names.CA, o.Names.Cert, o.Names.Key, err)
	}
	return creds, nil
}
